"""Pages there and back by the edge row's key: page 1000 costs what page 1 costs."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Row, Select, func, select, tuple_

from crm.models import db

COUNT_CAP = 10_000
_LONGEST_KEY = 500
_LARGEST = 10**15
_PARSERS: dict[type, Any] = {
    int: int,
    str: str,
    Decimal: Decimal,
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
}


@dataclass(frozen=True, slots=True)
class Order:
    """What rows are ordered by; ties are broken by ``key`` (the id). Unknown values come last."""

    column: Any
    key: Any
    kind: type
    descending: bool = True
    nullable: bool = False


@dataclass(slots=True)
class Page:
    """Rows of one page and the keys of its neighbours."""

    rows: list[Row[Any]] = field(default_factory=list)
    previous: str = ""
    following: str = ""


def read_page(query: Select[Any], order: Order, size: int, after: str, before: str) -> Page:
    """The page behind ``after`` or in front of ``before``; keys of ``encode``.

    ``query`` must select ``sort_value`` (the ordered column) and ``sort_id``. One query,
    or two where known values end and unknown ones begin. A key that makes no sense
    gives the first page.
    """
    start = _decode(after, order) or _decode(before, order)
    backward = start is not None and _decode(after, order) is None
    rows = _walk(query, order, size + 1, start, backward)
    more, rows = len(rows) > size, rows[:size]
    if backward:
        rows.reverse()
    page = Page(rows)
    if rows and (more if backward else start is not None):
        page.previous = encode(rows[0])
    if rows and (backward or more):
        page.following = encode(rows[-1])
    return page


def capped_count(query: Select[Any], cap: int | None = None) -> tuple[int, bool]:
    """Number of rows, counted no further than ``cap`` (10 000), and whether it stopped there."""
    cap = cap or COUNT_CAP
    narrowed = query.order_by(None).limit(cap + 1).subquery()
    count = db.session.scalar(select(func.count()).select_from(narrowed)) or 0
    return min(count, cap), count > cap


def encode(row: Row[Any]) -> str:
    """Key of a row, fit for an address."""
    value = row.sort_value
    text = value.isoformat() if isinstance(value, (dt.date, dt.datetime)) else value
    plain = json.dumps([None if text is None else str(text), row.sort_id], ensure_ascii=False)
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _decode(key: str, order: Order) -> tuple[Any, int] | None:
    if not key or len(key) > _LONGEST_KEY:
        return None
    try:
        text, row_id = json.loads(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
        value = None if text is None else _PARSERS[order.kind](text)
    except (binascii.Error, ValueError, TypeError, InvalidOperation):
        return None
    naive = isinstance(value, dt.datetime) and value.tzinfo is None
    misplaced = value is None and not order.nullable
    if type(row_id) is not int or abs(row_id) >= 2**31 or naive or misplaced:
        return None
    return (value, row_id) if _is_comparable(value) else None


def _is_comparable(value: Any) -> bool:
    """Whether every database takes the value: forged keys hold anything."""
    match value:
        case str():
            return "\x00" not in value and value.encode("utf-8", "replace").decode() == value
        case int():
            return abs(value) < 2**31
        case Decimal():
            return value.is_finite() and abs(value) < _LARGEST
        case _:
            return True


def _walk(
    query: Select[Any], order: Order, size: int, start: tuple[Any, int] | None, backward: bool
) -> list[Row[Any]]:
    parts = [False, True] if order.nullable else [False]
    if backward:
        parts.reverse()
    if start is not None and order.nullable:
        parts = parts[parts.index(start[0] is None) :]
    rows: list[Row[Any]] = []
    for index, of_nulls in enumerate(parts):
        if len(rows) < size:
            part = _part(query, order, of_nulls, start if index == 0 else None, backward)
            rows += db.session.execute(part.limit(size - len(rows))).all()
    return rows


def _part(
    query: Select[Any],
    order: Order,
    of_nulls: bool,
    start: tuple[Any, int] | None,
    backward: bool,
) -> Select[Any]:
    """Either the known values or the unknown ones, which are ordered by the id alone."""
    descending = order.descending != backward
    by_id = of_nulls or order.column is order.key
    columns: Sequence[Any] = [order.key] if by_id else [order.column, order.key]
    if order.nullable:
        query = query.where(order.column.is_(None) if of_nulls else order.column.is_not(None))
    if start is not None:
        key, value = tuple_(*columns), start[-len(columns) :]
        query = query.where(key < value if descending else key > value)
    return query.order_by(*(c.desc() if descending else c.asc() for c in columns))
