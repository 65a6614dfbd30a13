"""Takes the demonstration agency away and nothing of the people's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, delete, func, select, update

from crm.models import Company, Employee, Model, SearchToken, StoredFile, db
from crm.models.demo import DemoManifest
from crm.operations import files, search_index
from crm.operations.demo.holds import batches, held, ids_of
from crm.operations.transaction import operation

# Rows of record: they stay when a demo person goes, without his name.
_NAMELESS = (("audit_entry", "actor_id"), ("feed_run", "actor_id"))


@operation
def remove() -> tuple[dict[str, int], dict[str, int]]:
    """(removed, kept) counts by table.

    A demo row that something made by people refers to is kept with all its parts: a hand-made
    deal with a demo client keeps that client and his numbers. A demo person who is kept so
    cannot sign in any more.
    """
    removed: dict[str, int] = {}
    kept: dict[str, int] = {}
    for manifest in db.session.scalars(select(DemoManifest)):
        _undress(manifest.company_before)
        _forget_names(manifest.ranges.get("ab_user", []))
        for name, (gone, left) in _clear_all(manifest.ranges).items():
            removed[name] = removed.get(name, 0) + gone
            if left:
                kept[name] = kept.get(name, 0) + left
        _switch_off(manifest.ranges.get("ab_user", []))
        db.session.delete(manifest)
    return removed, kept


def _undress(before: dict[str, Any]) -> None:
    company = db.session.scalars(select(Company).order_by(Company.id).limit(1)).one()
    for name, value in before.items():
        setattr(company, name, value)


def _forget_names(people: list[list[int]]) -> None:
    for batch in batches(ids_of(people)):
        for name, column in _NAMELESS:
            table = Model.metadata.tables[name]
            db.session.execute(
                update(table).where(table.c[column].in_(batch)).values({column: None})
            )


def _switch_off(people: list[list[int]]) -> None:
    """Everybody knows the password of those who had to stay."""
    for batch in batches(ids_of(people)):
        db.session.execute(update(Employee).where(Employee.id.in_(batch)).values(active=False))


def _clear_all(ranges: dict[str, list[list[int]]]) -> dict[str, tuple[int, int]]:
    """(deleted, kept) by table: what refers goes before what it refers to, files last."""
    staying = held(ranges)
    counts: dict[str, tuple[int, int]] = {}
    for table in reversed(Model.metadata.sorted_tables):
        if table.name in ranges and table.name not in _APART:
            ids = set(ids_of(ranges[table.name]))
            counts[table.name] = _clear(table, ids - staying.get(table.name, set()), ids)
    counts[SearchToken.__tablename__] = _clear_words(ranges.get(SearchToken.__tablename__, []))
    counts[StoredFile.__tablename__] = _clear_files(
        set(ids_of(ranges.get(StoredFile.__tablename__, []))),
        staying.get(StoredFile.__tablename__, set()),
    )
    return counts


# Words follow their objects, files have contents besides the row.
_APART = (SearchToken.__tablename__, StoredFile.__tablename__)


def _clear(table: Table, leaving: Iterable[int], made: set[int]) -> tuple[int, int]:
    for batch in batches(leaving):
        db.session.execute(delete(table).where(table.c.id.in_(batch)))
    left = _count(table, made)
    return len(made) - left, left


def _clear_words(ranges: list[list[int]]) -> tuple[int, int]:
    made = set(ids_of(ranges))
    search_index.forget_vanished()
    left = _count(Model.metadata.tables[SearchToken.__tablename__], made)
    return len(made) - left, left


def _clear_files(made: set[int], staying: set[int]) -> tuple[int, int]:
    gone = 0
    for batch in batches(made - staying):
        for stored in db.session.scalars(select(StoredFile).where(StoredFile.id.in_(batch))):
            files.delete_file(stored)
            gone += 1
    return gone, len(staying)


def _count(table: Table, ids: set[int]) -> int:
    found = 0
    for batch in batches(ids):
        query = select(func.count()).select_from(table).where(table.c.id.in_(batch))
        found += db.session.scalar(query) or 0
    return found
