"""Events for browsers, as rows: what a page has missed, and whose sign-ins are alive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from sqlalchemy import Select, func, or_, select

from crm.models import AuthSession, BrowserEvent, Employee, db
from crm.values.clock import utc_now

PAGE = 100
_CHUNK = 500


def newest_id() -> int:
    """Id of the newest event, 0 when there is none."""
    return db.session.scalar(select(func.max(BrowserEvent.id))) or 0


def newer(user_id: int, since: int) -> tuple[Sequence[BrowserEvent], bool]:
    """Events after id ``since`` for this person or everyone, and whether these are all.

    The newest 100, oldest first.
    """
    rows = list(db.session.scalars(_newer(user_id, since)))
    return rows[:PAGE][::-1], len(rows) <= PAGE


def _newer(user_id: int, since: int) -> Select[tuple[BrowserEvent]]:
    return (
        select(BrowserEvent)
        .where(
            BrowserEvent.id > since,
            or_(BrowserEvent.user_id == user_id, BrowserEvent.user_id.is_(None)),
        )
        .order_by(BrowserEvent.id.desc())
        .limit(PAGE + 1)
    )


def alive_sign_ins(hashes: Collection[str], *, idle_hours: int) -> set[str]:
    """Those of the token hashes whose sign-in is alive; nothing is touched."""
    now = utc_now()
    wanted = sorted(hashes)
    alive: set[str] = set()
    for start in range(0, len(wanted), _CHUNK):
        query = (
            select(AuthSession.token_hash)
            .join(Employee, Employee.id == AuthSession.user_id)
            .where(
                AuthSession.token_hash.in_(wanted[start : start + _CHUNK]),
                AuthSession.expires_at > now,
                AuthSession.seen_at > now - dt.timedelta(hours=idle_hours),
                Employee.active,
            )
        )
        alive.update(db.session.scalars(query))
    return alive
