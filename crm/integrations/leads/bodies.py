"""Bodies of forms and JSON as ordered pairs of text, within limits (site.md §2).

Reads raw bytes itself, because the order and the repeats of fields carry meaning and a form may
be in windows-1251. Raises only `MalformedRequest` and `LeadRejected`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Field,
    File,
    MultipartDecoder,
    NeedData,
)

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.leads.base import LeadRejected

MAX_BODY = 256 * 1024
MAX_FIELDS = 100
MAX_VALUE = 10_000
MAX_LABEL = 255
MAX_DEPTH = 8

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
JSON = "application/json"

_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "windows-1251": "cp1251",
    "cp1251": "cp1251",
}
# PostgreSQL refuses NUL, and half of a surrogate pair cannot be written in UTF-8.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Body:
    """Fields in their order with repeats, and notes in Russian about what was cut or refused."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


def media_type(request: InboundRequest) -> str:
    """Return the media type in lower case; an absent one is guessed by the first character."""
    declared = request.headers.get("Content-Type") or ""
    kind = parse_options_header(declared)[0].lower()
    if kind:
        return kind
    return JSON if request.body.lstrip().startswith(b"{") else FORM


def read(request: InboundRequest) -> Body:
    """Read a JSON object or a form.

    Raises LeadRejected 413 (over 256 KB or 100 fields), 415 (another media type) and
    MalformedRequest (broken syntax or text not in its charset).
    """
    if len(request.body) > MAX_BODY:
        raise LeadRejected(413, "too_large")
    kind = media_type(request)
    if kind == JSON:
        return _limited(_read_json(request.body))
    if kind == FORM:
        return _limited(_read_form(request))
    if kind == MULTIPART:
        return _read_multipart(request)
    raise LeadRejected(415, "unsupported_media_type")


def clean(text: str) -> str:
    """Return text that every database takes: no control characters, line ends as LF, trimmed."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", lines)).strip()


def shorten(text: str, limit: int) -> str:
    """Cut text to a limit with a mark at the end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_note(label: str, length: int, limit: int) -> str:
    """Say in Russian that a value was cut."""
    return f"{shorten(label, 60)}: обрезано до {limit} знаков, было {length}"


def _limited(pairs: Iterator[Pair], notes: tuple[str, ...] = ()) -> Body:
    kept: list[Pair] = []
    remarks = list(notes)
    for label, value in pairs:
        if len(kept) == MAX_FIELDS:
            raise LeadRejected(413, "too_many_fields")
        text = clean(value)
        if len(text) > MAX_VALUE:
            remarks.append(cut_note(clean(label), len(text), MAX_VALUE))
        kept.append((shorten(clean(label), MAX_LABEL), shorten(text, MAX_VALUE)))
    return Body(tuple(kept), tuple(remarks))


def _read_json(body: bytes) -> Iterator[Pair]:
    try:
        # Numbers stay text: a phone sent as a number keeps all its digits.
        data = json.loads(
            body.decode("utf-8-sig"), parse_int=str, parse_float=str, parse_constant=str
        )
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("тело не читается как JSON в UTF-8") from error
    if not isinstance(data, dict):
        raise MalformedRequest("ожидается объект JSON, а не список или значение")
    return _flatten(data, "", 0)


def _flatten(value: Any, path: str, depth: int) -> Iterator[Pair]:
    if depth > MAX_DEPTH:
        raise MalformedRequest(f"объект вложен глубже {MAX_DEPTH} уровней")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        yield from _flatten_list(value, path, depth)
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _flatten_list(values: list[Any], path: str, depth: int) -> Iterator[Pair]:
    for index, inner in enumerate(values):
        nested = isinstance(inner, (dict, list))
        yield from _flatten(inner, f"{path}.{index}" if nested else path, depth + 1)


def _read_form(request: InboundRequest) -> Iterator[Pair]:
    options = parse_options_header(request.headers.get("Content-Type") or "")[1]
    charset = _charset(options.get("charset"))
    for part in request.body.strip().split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            yield _decode(_unquote(name), charset), _decode(_unquote(value), charset)


def _unquote(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _charset(declared: str | None) -> str:
    charset = _CHARSETS.get((declared or "utf-8").strip().lower())
    if charset is None:
        raise MalformedRequest("кодировка не поддерживается: нужна UTF-8 или windows-1251")
    return charset


def _decode(text: bytes, charset: str) -> str:
    try:
        return text.decode(charset)
    except UnicodeDecodeError as error:
        raise MalformedRequest("текст не соответствует заявленной кодировке") from error


def _read_multipart(request: InboundRequest) -> Body:
    options = parse_options_header(request.headers.get("Content-Type") or "")[1]
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise MalformedRequest("в заголовке формы нет границы частей")
    parts = _parts(request.body, boundary)
    charset = _charset(options.get("charset"))
    pairs = [
        (head.name or "", _decode(content, _part_charset(head, charset)))
        for head, content in parts
        if isinstance(head, Field)
    ]
    # The file itself is not taken, the rest of the form is: a lead is worth more than its picture.
    notes = tuple(
        f"файл «{shorten(clean(head.filename), 60)}» не принят"
        for head, _ in parts
        if isinstance(head, File) and head.filename
    )
    return _limited(iter(pairs), notes)


def _part_charset(head: Field, default: str) -> str:
    options = parse_options_header(head.headers.get("Content-Type") or "")[1]
    return _charset(options["charset"]) if "charset" in options else default


def _parts(body: bytes, boundary: bytes) -> list[tuple[Field | File, bytes]]:
    decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_BODY, max_parts=MAX_FIELDS)
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        return list(_events(decoder))
    except RequestEntityTooLarge as error:
        raise LeadRejected(413, "too_many_fields") from error
    except (ValueError, LookupError) as error:
        raise MalformedRequest("форма из частей (multipart) повреждена") from error


def _events(decoder: MultipartDecoder) -> Iterator[tuple[Field | File, bytes]]:
    head: Field | File | None = None
    chunks: list[bytes] = []
    while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
        if isinstance(event, (Field, File)):
            head, chunks = event, []
        elif isinstance(event, Data) and head is not None:
            chunks.append(event.data)
            if not event.more_data:
                yield head, b"".join(chunks)
