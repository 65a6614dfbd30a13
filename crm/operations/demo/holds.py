"""Which demo rows must stay because something made by people refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, not_, or_, select

from crm.models import Model, db

CHUNK = 500
Ranges = Mapping[str, list[list[int]]]
# A deleted row takes the referring row along, or leaves it without the reference.
_YIELDING = ("CASCADE", "SET NULL")


def held(ranges: Ranges) -> dict[str, set[int]]:
    """Ids of the demo rows that stay, by table.

    A row of the people holds what it refers to, unless it goes itself together with a demo
    row that it is a part of. What is held holds what it refers to in its turn, and its parts:
    a deal that stays keeps its history, a contact its numbers.
    """
    found: dict[str, set[int]] = {}
    waiting: list[tuple[Table, set[int]]] = []
    for table in _tables():
        for column, target in _links(table):
            if target.name in ranges and _rule(column) not in _YIELDING:
                _hold(found, waiting, target, _held_by_people(table, column, ranges))
    while waiting:
        table, ids = waiting.pop()
        for target, wanted in _referred(table, ids, ranges):
            _hold(found, waiting, target, wanted)
        for target, wanted in _parts(table, ids, ranges, found):
            _hold(found, waiting, target, wanted)
    return found


def ids_of(ranges: Iterable[Iterable[int]]) -> Iterator[int]:
    """Every id of inclusive ranges."""
    for first, last in ranges:
        yield from range(first, last + 1)


def batches(ids: Iterable[int]) -> Iterator[list[int]]:
    """Ids in lists that fit into one statement."""
    known = sorted(ids)
    for start in range(0, len(known), CHUNK):
        yield known[start : start + CHUNK]


def _hold(
    found: dict[str, set[int]], waiting: list[tuple[Table, set[int]]], table: Table, ids: set[int]
) -> None:
    fresh = ids - found.setdefault(table.name, set())
    if fresh:
        found[table.name] |= fresh
        waiting.append((table, fresh))


def _held_by_people(table: Table, column: Column[Any], ranges: Ranges) -> set[int]:
    """Demo ids in ``column`` of rows that are not the demo's and do not go along with it."""
    target = next(iter(column.foreign_keys)).column.table.name
    conditions = [_within(column, ranges[target])]
    if table.name in ranges:
        conditions.append(not_(_within(table.c.id, ranges[table.name])))
    for parent, owner in _links(table):
        if _rule(parent) == "CASCADE" and owner.name in ranges:
            conditions.append(or_(parent.is_(None), not_(_within(parent, ranges[owner.name]))))
    return set(db.session.scalars(select(column).where(and_(*conditions)).distinct()))


def _referred(table: Table, ids: set[int], ranges: Ranges) -> Iterator[tuple[Table, set[int]]]:
    """Demo rows that the held rows of ``table`` refer to."""
    for column, target in _links(table):
        if target.name in ranges and _rule(column) != "SET NULL":
            found: set[int] = set()
            for batch in batches(ids):
                query = select(column).where(table.c.id.in_(batch)).distinct()
                found |= {value for value in db.session.scalars(query) if value is not None}
            yield target, _of_demo(found, ranges[target.name])


def _parts(
    table: Table, ids: set[int], ranges: Ranges, found: Mapping[str, set[int]]
) -> Iterator[tuple[Table, set[int]]]:
    """Demo parts of the held rows, and demo rows that any parts refer to.

    A row that is a part of several (a line in the feeds of a deal and its client) stays only
    when all of them do.
    """
    for child in _tables():
        links = dict(_links(child))
        for column, target in links.items():
            if target is table and _rule(column) == "CASCADE":
                rows = [
                    row for row in _rows(child, column, ids) if _stays(row, links, ranges, found)
                ]
                if child.name in ranges:
                    own = {row[child.c.id] for row in rows}
                    yield child, _of_demo(own, ranges[child.name])
                for other, owner in links.items():
                    if owner.name in ranges and _rule(other) != "SET NULL":
                        values = {row[other] for row in rows if row[other] is not None}
                        yield owner, _of_demo(values, ranges[owner.name])


def _rows(child: Table, column: Column[Any], ids: set[int]) -> Iterator[Mapping[Any, Any]]:
    wanted = [link for link, _target in _links(child)]
    if "id" in child.c:
        wanted.append(child.c.id)
    for batch in batches(ids):
        yield from db.session.execute(select(*wanted).where(column.in_(batch))).mappings()


def _stays(
    row: Mapping[Any, Any],
    links: Mapping[Column[Any], Table],
    ranges: Ranges,
    found: Mapping[str, set[int]],
) -> bool:
    for column, owner in links.items():
        value = row[column]
        if value is None or _rule(column) != "CASCADE" or owner.name not in ranges:
            continue
        if _of_demo({value}, ranges[owner.name]) - found.get(owner.name, set()):
            return False
    return True


def _of_demo(ids: set[int], ranges: list[list[int]]) -> set[int]:
    return {pk for pk in ids if any(first <= pk <= last for first, last in ranges)}


def _tables() -> list[Table]:
    return list(Model.metadata.sorted_tables)


def _links(table: Table) -> Iterator[tuple[Column[Any], Table]]:
    """References of a table; memberships of a person's roles and groups are his parts."""
    for column in table.columns:
        for key in column.foreign_keys:
            yield column, key.column.table


def _rule(column: Column[Any]) -> str | None:
    if column.table.name in ("ab_user_role", "ab_user_group"):
        return "CASCADE"
    return next(iter(column.foreign_keys)).ondelete


def _within(column: Column[Any], ranges: list[list[int]]) -> ColumnElement[bool]:
    return or_(*(column.between(first, last) for first, last in ranges))
