"""Takes the demonstration agency away and nothing of the people's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Table, delete, exists, select, update

from crm.models import Company, Model, StoredFile, db
from crm.models.demo import DemoManifest
from crm.operations import files
from crm.operations.transaction import operation

CHUNK = 500
# Rows of record: they stay when a demo person goes, without his name.
_NAMELESS = (("audit_entry", "actor_id"), ("feed_run", "actor_id"))


@operation
def remove() -> tuple[dict[str, int], dict[str, int]]:
    """(removed, kept) counts by table.

    A demo row that something made by people refers to is kept: a hand-made deal with a
    demo client keeps that client.
    """
    removed: dict[str, int] = {}
    kept: dict[str, int] = {}
    for manifest in db.session.scalars(select(DemoManifest)):
        _undress(manifest.company_before)
        _forget_names(manifest)
        for table in reversed(Model.metadata.sorted_tables):
            wanted = manifest.ranges.get(table.name)
            if wanted:
                gone, left = _clear(table, list(_ids(wanted)))
                removed[table.name] = removed.get(table.name, 0) + gone
                if left:
                    kept[table.name] = kept.get(table.name, 0) + left
        db.session.delete(manifest)
    return removed, kept


def _undress(before: dict[str, Any]) -> None:
    company = db.session.scalars(select(Company).order_by(Company.id).limit(1)).one()
    for name, value in before.items():
        setattr(company, name, value)


def _forget_names(manifest: DemoManifest) -> None:
    for batch in _batches(_ids(manifest.ranges.get("ab_user", []))):
        for name, column in _NAMELESS:
            table = Model.metadata.tables[name]
            db.session.execute(
                update(table).where(table.c[column].in_(batch)).values({column: None})
            )


def _clear(table: Table, ids: list[int]) -> tuple[int, int]:
    """Delete those of ``ids`` that nothing left refers to; (deleted, kept)."""
    if table is StoredFile.__table__:
        return _clear_files(ids)
    gone = 0
    for batch in _batches(ids):
        statement = delete(table).where(table.c.id.in_(batch))
        for column in _references(table):
            statement = statement.where(~exists().where(column == table.c.id))
        gone += db.session.execute(statement).rowcount
    left = sum(
        len(db.session.scalars(select(table.c.id).where(table.c.id.in_(batch))).all())
        for batch in _batches(ids)
    )
    return gone, left


def _references(table: Table) -> Iterator[Any]:
    """Columns elsewhere that hold on to a row: neither deleted nor emptied along with it."""
    for other in Model.metadata.sorted_tables:
        if other is table or other.name in ("ab_user_role", "ab_user_group"):
            continue
        for column in other.columns:
            for key in column.foreign_keys:
                if key.column.table is table and key.ondelete not in ("CASCADE", "SET NULL"):
                    yield column


def _clear_files(ids: list[int]) -> tuple[int, int]:
    """Files go with their contents, unless somebody's row still shows them."""
    used = set()
    for column in _references(StoredFile.__table__):
        for batch in _batches(ids):
            used |= set(db.session.scalars(select(column).where(column.in_(batch))))
    gone = 0
    for number in ids:
        stored = db.session.get(StoredFile, number)
        if stored is not None and number not in used:
            files.delete_file(stored)
            gone += 1
    return gone, len(used)


def _ids(wanted: Iterable[Iterable[int]]) -> Iterator[int]:
    for first, last in wanted:
        yield from range(first, last + 1)


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for number in ids:
        batch.append(number)
        if len(batch) == CHUNK:
            yield batch
            batch = []
    if batch:
        yield batch
