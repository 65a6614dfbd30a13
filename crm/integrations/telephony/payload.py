"""Tolerant reading of an operator's JSON object: types differ between document and life."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.values import phones

MAX_ID = 128
MAX_NUMBER = 20
_LATEST_UNIX = 4102444800  # 2100-01-01: later values are milliseconds or garbage


class Payload:
    """A JSON object whose members are reached by dotted names (`from.number`)."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, Mapping):
            raise MalformedRequest("Ожидался объект JSON")
        self._value: Mapping[str, Any] = value

    def text(self, name: str) -> str | None:
        """Text or number as text; None when absent, empty or of another type."""
        value = self._find(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return str(value).strip()[:10_000] or None

    def identifier(self, name: str) -> str | None:
        """Short text. Raises `MalformedRequest` when longer than an id can be."""
        value = self.text(name)
        if value is not None and len(value) > MAX_ID:
            raise MalformedRequest(f"Поле «{name}» длиннее {MAX_ID} знаков")
        return value

    def required(self, name: str) -> str:
        """Identifier that must be there. Raises `MalformedRequest`."""
        value = self.identifier(name)
        if value is None:
            raise MalformedRequest(f"Нет обязательного поля «{name}»")
        return value

    def integer(self, name: str) -> int | None:
        """Integer written as a number or as text; None for anything else."""
        value = self.text(name)
        if value is None or len(value) > MAX_NUMBER:
            return None
        return int(value) if value.removeprefix("-").isdecimal() else None

    def number(self, name: str) -> str | None:
        """Telephone number as digits; None when hidden or not a number."""
        found = phones.digits(self.text(name))
        return found if found is not None and len(found) <= MAX_NUMBER else None

    def unix_time(self, name: str) -> datetime | None:
        """Unix seconds as aware UTC; None when absent or 0. Raises `MalformedRequest`."""
        seconds = self.integer(name)
        if not seconds:
            return None
        if not 0 < seconds < _LATEST_UNIX:
            raise MalformedRequest(f"Поле «{name}» не похоже на время")
        return datetime.fromtimestamp(seconds, UTC)

    def objects(self, name: str) -> list[Payload]:
        """Members of a list that are objects."""
        value = self._find(name)
        items = value if isinstance(value, list) else []
        return [Payload(item) for item in items if isinstance(item, Mapping)]

    def texts(self, name: str) -> list[str]:
        """Non-empty texts of a list, or of a single text."""
        value = self._find(name)
        items = value if isinstance(value, list) else [value]
        return [item for item in items if isinstance(item, str) and item]

    def source(self) -> str:
        """The object as canonical JSON text."""
        return json.dumps(self._value, ensure_ascii=False, sort_keys=True)

    def _find(self, name: str) -> Any:
        value: Any = self._value
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value
