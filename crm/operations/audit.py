"""The audit journal: who changed what, before and after."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

from flask import has_request_context, request
from sqlalchemy import inspect

from crm.models import AuditEntry, Model, db
from crm.security.principal import Principal

_HIDDEN = frozenset({"password", "credentials", "secrets", "token", "address", "key", "body"})


def snapshot(obj: Model, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Column values of ``obj`` as JSON; secrets are named, never shown."""
    columns = inspect(type(obj)).columns.keys()
    names = [name for name in columns if fields is None or name in fields]
    return {name: _plain(name, getattr(obj, name)) for name in names}


def changes(obj: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """Not yet flushed changes of ``obj``: (before, after)."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    state = inspect(obj)
    for name in list(inspect(type(obj)).columns.keys()):
        history = state.attrs[name].history
        if history.has_changes():
            before[name] = _plain(name, history.deleted[0] if history.deleted else None)
            after[name] = _plain(name, history.added[0] if history.added else None)
    return before, after


def record(
    action: str,
    obj: Model,
    by: Principal | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    *,
    actor_id: int | None = None,
) -> None:
    """Write one entry about ``obj``, which must have an id (flushed).

    ``actor_id`` names somebody whose rights are not loaded: he is just signing in.
    """
    db.session.add(
        AuditEntry(
            actor_id=by.id if by else actor_id,
            action=action,
            object_type=obj.__tablename__,
            object_id=getattr(obj, "id", None),
            before=before or {},
            after=after or {},
            ip=request.remote_addr if has_request_context() else None,
        )
    )


def _plain(name: str, value: Any) -> Any:
    if name in _HIDDEN and value not in (None, ""):
        return "•••"
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value
