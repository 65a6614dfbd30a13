"""An HTTP request somebody sent to us, free of any web framework, and our answer to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from crm.integrations.errors import IntegrationError

MAX_BODY_BYTES = 1024 * 1024
MAX_FORM_FIELDS = 200


class MalformedRequest(IntegrationError):
    """The body cannot be read as what it claims to be; repeating the same bytes changes nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class Headers(Mapping[str, str]):
    """HTTP headers: names are compared without regard to case."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in values.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class InboundRequest:
    """One request as it came: raw bytes stay untouched, because signatures are made over them.

    `path_tail` is what follows our address and its secret, `token` is that secret as the sender
    wrote it, `received_at` is aware UTC. Bodies, headers and secrets stay out of `repr`.
    """

    method: str
    path_tail: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    remote_addr: str
    received_at: datetime
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.received_at.tzinfo is None:
            raise ValueError("received_at must be aware")
        object.__setattr__(self, "headers", Headers(self.headers))

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters, empty when not declared."""
        return self.headers.get("Content-Type", "").split(";")[0].strip().lower()

    def text(self) -> str:
        """Body as text: strict UTF-8, else the declared charset. Raises `MalformedRequest`."""
        self._check_size()
        return self.body.decode(self._charset())

    def form(self) -> dict[str, str]:
        """Fields of an urlencoded or multipart body, the last of equal names wins, files left out.

        Raises `MalformedRequest`.
        """
        return dict(self._fields)

    @cached_property
    def _fields(self) -> dict[str, str]:
        """Read once: the check of the signature, the mask and the parser all ask for it."""
        self._check_size()
        if self.content_type == "multipart/form-data":
            return self._multipart()
        charset = self._charset()
        return _urlencoded(self.body.decode(charset), charset)

    def json(self) -> Any:
        """Body as JSON. Raises `MalformedRequest`."""
        return load_json(self.text())

    def _check_size(self) -> None:
        if len(self.body) > MAX_BODY_BYTES:
            raise MalformedRequest(f"Тело запроса больше {MAX_BODY_BYTES // 1024} КБ")

    def _declared_charset(self) -> str | None:
        header = Message()
        header["Content-Type"] = self.headers.get("Content-Type", "")
        declared = header.get_param("charset")
        return declared if isinstance(declared, str) else None

    def _charset(self) -> str:
        """The charset in which both the bytes and their percent-escapes can be read."""
        escapes = self._is_urlencoded()
        if _readable(self.body, "utf-8", escapes=escapes):
            return "utf-8"
        declared = self._declared_charset()
        if declared and _readable(self.body, declared, escapes=escapes):
            return declared
        raise MalformedRequest("Текст запроса не в UTF-8 и не в объявленной кодировке")

    def _is_urlencoded(self) -> bool:
        return self.content_type in ("", "application/x-www-form-urlencoded")

    def _multipart(self) -> dict[str, str]:
        head = f"Content-Type: {_one_line(self.headers['Content-Type'])}\r\n\r\n"
        message = message_from_bytes(head.encode("utf-8", "replace") + self.body)
        if not message.is_multipart():
            raise MalformedRequest("Части составного запроса не найдены")
        parts = [part for part in message.get_payload() if isinstance(part, Message)]
        return dict(pair for part in parts if (pair := _form_part(part)) is not None)


def load_json(text: str) -> Any:
    """JSON that can also be stored: no NUL, no broken surrogates. Raises `MalformedRequest`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("Текст не является правильным JSON") from error
    if "\x00" in text or "\\u0000" in text:
        raise MalformedRequest("В тексте есть нулевой символ")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _readable(body: bytes, charset: str, *, escapes: bool) -> bool:
    try:
        text = body.decode(charset)
        if escapes and "%" in text:
            parse_qsl(text, keep_blank_values=True, encoding=charset, errors="strict")
    except (UnicodeError, LookupError):
        return False
    return True


def _urlencoded(text: str, charset: str) -> dict[str, str]:
    try:
        fields = dict(
            parse_qsl(
                text,
                keep_blank_values=True,
                encoding=charset,
                errors="strict",
                max_num_fields=MAX_FORM_FIELDS,
            )
        )
    except ValueError as error:
        raise MalformedRequest("Поля формы не удалось разобрать") from error
    if any("\x00" in name or "\x00" in value for name, value in fields.items()):
        raise MalformedRequest("В поле формы есть нулевой символ")
    return fields


def _form_part(part: Message) -> tuple[str, str] | None:
    name = part.get_param("name", header="content-disposition")
    payload = part.get_payload(decode=True)
    if not isinstance(name, str) or part.get_filename() is not None:
        return None
    if not isinstance(payload, bytes):
        return None
    try:
        return name, payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest("Поле составного запроса не в UTF-8") from error


def _one_line(header: str) -> str:
    return header.replace("\r", " ").replace("\n", " ")


@dataclass(frozen=True)
class Reply:
    """What we answer to the sender."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
