"""Taking one row for changing: locked, read anew, and only by those who may."""

from __future__ import annotations

from typing import Any, TypeVar

from flask_babel import gettext as _
from sqlalchemy import select, text, update
from sqlalchemy.orm.attributes import set_committed_value

from crm.models import Action, Deal, Model, Task, db
from crm.operations.errors import Forbidden, NotFound
from crm.security import visibility
from crm.security.principal import Principal

M = TypeVar("M", bound=Model)


def lock(model: type[Model], pk: int) -> None:
    """Hold the row until the transaction ends; others who want it wait.

    SQLite has no row locks: a write that changes nothing makes us its only writer.
    """
    if db.session.get_bind().dialect.name == "sqlite":
        table = model.__tablename__
        db.session.execute(text(f'UPDATE "{table}" SET id = id WHERE id = :id'), {"id": pk})  # noqa: S608
        return
    # NO KEY: rows that merely refer to this one may still be added by others.
    db.session.execute(select(model.id).where(model.id == pk).with_for_update(key_share=True))


def locked(model: type[M], pk: int) -> M | None:
    """The row as it stands now, locked; None when there is none."""
    lock(model, pk)
    query = select(model).where(model.id == pk)
    found: M | None = db.session.scalars(
        query.execution_options(populate_existing=True)
    ).one_or_none()
    return found


def deal_to_change(deal_id: int, by: Principal | None) -> Deal:
    """The locked deal that ``by`` may edit; the system (None) may edit all.

    Raises NotFound when the deal is out of sight, Forbidden when it may only be read.
    """
    return _permitted(locked(Deal, deal_id), by, _("Сделка не найдена."))


def task_to_change(task_id: int, by: Principal | None) -> Task:
    """The locked task that ``by`` may edit, its deal locked before it.

    Raises NotFound when the task is out of sight, Forbidden when it may only be read.
    """
    deal_id = db.session.scalar(select(Task.deal_id).where(Task.id == task_id))
    if deal_id is not None:
        # Always the deal first: two people in one deal never wait for each other.
        locked(Deal, deal_id)
    return _permitted(locked(Task, task_id), by, _("Задача не найдена."))


def touch(row: Model, **values: Any) -> None:
    """Set bookkeeping columns without a new version.

    A call that comes in meanwhile must not refuse what a person is typing in the card.
    """
    db.session.flush()
    table = type(row).__table__
    db.session.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(**values, **{c.name: c for c in table.c if c.onupdate is not None})
    )
    for name, value in values.items():
        set_committed_value(row, name, value)


def _permitted(row: M | None, by: Principal | None, missing: str) -> M:
    if row is None or getattr(row, "deleted_at", None) is not None:
        raise NotFound(missing)
    if by is None or visibility.may(by, Action.EDIT, row):
        return row
    if visibility.may(by, Action.VIEW, row):
        raise Forbidden(_("Изменять может ответственный или его руководитель."))
    raise NotFound(missing)
