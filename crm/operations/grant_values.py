"""Values of the limiting extra permissions: a number of requests, or a list of allowed rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask_babel import gettext as _

from crm.security.grants import Grant

NUMBERS = frozenset({Grant.MAX_REQUESTS_MONTH, Grant.MAX_REQUESTS_DAY})
LISTS = frozenset({Grant.LIMIT_STATS_SOURCES, Grant.LIMIT_STATS_DEPARTMENTS})
_MAX = 100_000


def read_value(grant: Grant, raw: Any) -> int | list[int] | None:
    """Typed value of a grant: a number, a list of ids, or None for those without a value.

    Raises ValueError in words for people.
    """
    if grant in NUMBERS:
        return _number(str(raw if raw is not None else "").strip())
    if grant in LISTS:
        return _ids(raw or [])
    return None


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX:
        raise ValueError(_("Укажите целое число; 0 — заявок не получает."))
    return int(text)


def _ids(raw: Iterable[Any]) -> list[int]:
    texts = [str(value) for value in raw]
    if not all(text.isdecimal() for text in texts):
        raise ValueError(_("Выберите строки из списка."))
    return sorted({int(text) for text in texts})
