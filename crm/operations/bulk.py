"""Many rows at once: COPY on PostgreSQL, one prepared statement on SQLite.

The rows go past the mapped classes: every column without a database default must be given. Runs
inside the caller's transaction.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, bindparam, update

from crm.models import db

Row = Mapping[str, Any]


@contextmanager
def settled_memory() -> Iterator[None]:
    """Keep the garbage collector from walking the whole application for every batch.

    What lives already is set aside; what the work leaves behind is collected as ever.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def insert(table: Table, rows: Sequence[Row]) -> None:
    """Insert ``rows``; all have the keys of the first one."""
    if not rows:
        return
    names = list(rows[0])
    dialect = db.session.get_bind().dialect
    values = list(zip(*(_bound(table, name, rows, dialect) for name in names), strict=True))
    quoted = ", ".join(f'"{name}"' for name in names)
    connection = db.session.connection()
    if dialect.name != "postgresql":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(
            f'INSERT INTO "{table.name}" ({quoted}) VALUES ({marks})',  # noqa: S608 own names
            values,
        )
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    with (
        driver.cursor() as cursor,
        cursor.copy(f'COPY "{table.name}" ({quoted}) FROM STDIN') as copy,
    ):
        for value in values:
            copy.write_row(value)


def update_by_id(table: Table, rows: Sequence[Row]) -> None:
    """Update rows by ``b_id``; the other keys are columns. ``updated_at`` stays as it is."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "b_id"]
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    for column in table.c:
        if column.onupdate is not None and column.name not in values:
            values[column.name] = column
    db.session.connection().execute(
        update(table).where(table.c.id == bindparam("b_id")).values(values), list(rows)
    )


def _bound(table: Table, name: str, rows: Sequence[Row], dialect: Any) -> list[Any]:
    """Values of one column as the driver wants them; one that all rows share is made once."""
    values = [row[name] for row in rows]
    kind = table.c[name].type
    processor: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    if processor is None:
        return values
    first = values[0]
    if all(value is first for value in values):
        return [processor(first)] * len(values)
    return [processor(value) for value in values]
