"""The general protocol: addresses, bodies and tables as the administrator describes them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from crm.integrations.errors import IntegrationError
from crm.integrations.inbound import MalformedRequest, load_json

_NAMED = re.compile(r"\{([^{}]*)\}")
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*|\*(?:\.[\w-]+){2,}")


class BadTemplate(IntegrationError):
    """The administrator's text cannot be used; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


def host_of(template: str, names: Collection[str]) -> str:
    """Host of an address, the same whatever is substituted. Raises `BadTemplate`."""
    try:
        parts = urlsplit(template)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\\]", template):
        raise BadTemplate("должен начинаться с https:// и имени сервера")
    if set("{}@") & set(parts.netloc):
        raise BadTemplate("в имени сервера не может быть подстановок и паролей")
    unknown = set(_NAMED.findall(template)) - set(names)
    if unknown:
        raise BadTemplate(f"неизвестная подстановка {{{min(unknown)}}}")
    return host


def filled_address(template: str, values: Mapping[str, str]) -> str:
    """Address with percent-encoded values."""
    return _filled(template, values, lambda value: quote(value, safe=""))


def filled_json(template: str, values: Mapping[str, str]) -> bytes:
    """JSON with escaped values. Raises `BadTemplate`."""
    text = _filled(template, values, lambda value: json.dumps(value, ensure_ascii=False)[1:-1])
    try:
        load_json(text)
    except MalformedRequest as error:
        raise BadTemplate("получается неправильный JSON") from error
    return text.encode()


def at(value: Any, path: str) -> Any:
    """Member by names and indexes through dots, None when there is none; "" is the value itself."""
    for part in path.split(".") if path else ():
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def columns(text: str, names: Iterable[str]) -> dict[str, str]:
    """Our name of a field to the other side's: `ours = theirs` on a line. Raises `BadTemplate`."""
    found = {name: name for name in names}
    for line in filter(None, map(str.strip, text.splitlines())):
        ours, _, theirs = (part.strip() for part in line.partition("="))
        if ours not in found or not theirs:
            raise BadTemplate(f"не понята строка «{line}»")
        found[ours] = theirs
    return found


def csv_rows(text: str, required: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of a CSV that names its columns, through comma or semicolon. Raises `BadTemplate`."""
    if "\x00" in text:
        raise BadTemplate("в CSV есть нулевой символ")
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",")
    try:
        names, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise BadTemplate("CSV не читается") from error
    absent = [name for name in required if name not in names]
    if absent:
        raise BadTemplate(f"в CSV нет столбца «{absent[0]}»")
    return rows


def hosts(text: str) -> tuple[dict[str, str], list[str]]:
    """Hosts of a list to the scheme that may be used besides TLS, and what is not a host."""
    good: dict[str, str] = {}
    wrong = []
    for item in filter(None, re.split(r"[\s,;]+", text.lower())):
        scheme, _, rest = item.rpartition("://")
        host = rest.split("/")[0].split(":")[0]
        if scheme in ("", "http", "https") and _HOST.fullmatch(host):
            good[host] = "http" if scheme == "http" else "https"
        else:
            wrong.append(item)
    return good, wrong


def _filled(template: str, values: Mapping[str, str], written: Callable[[str], str]) -> str:
    """In one pass, so that a value is never taken for a placeholder; other braces stay."""

    def value_of(found: re.Match[str]) -> str:
        name = found[1]
        return written(values[name]) if name in values else found[0]

    return _NAMED.sub(value_of, template)
