"""The schedule's memory: which slot of each job was taken last, and when the scheduler lived."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from sqlalchemy import CursorResult, delete, or_, update
from sqlalchemy.exc import IntegrityError

from crm.models import AuthSession, BrowserEvent, JobSlot, db
from crm.operations.transaction import operation
from crm.values.clock import utc_now

SCHEDULER = "scheduler"
# Browsers that poll or reconnect look back minutes, not days.
EVENTS_KEPT = dt.timedelta(days=2)


@operation
def take_slot(name: str, slot: dt.datetime) -> bool:
    """Take this slot of job ``name`` for the calling process; False when it is taken.

    One UPDATE decides, so that of two schedulers only one runs a slot, with Redis and without,
    and a restart neither repeats a slot nor forgets that one is due.
    """
    taken = db.session.execute(
        update(JobSlot)
        .where(JobSlot.name == name, JobSlot.slot_at < slot)
        .values(slot_at=slot, started_at=utc_now())
    )
    if cast("CursorResult[Any]", taken).rowcount:
        return True
    if db.session.get(JobSlot, name) is not None:
        return False
    return _insert(name, slot)


def _insert(name: str, slot: dt.datetime) -> bool:
    try:
        with db.session.begin_nested():
            db.session.add(JobSlot(name=name, slot_at=slot, started_at=utc_now()))
    except IntegrityError:
        return False  # another scheduler was first
    return True


@operation
def give_back(name: str, slot: dt.datetime, period: dt.timedelta) -> None:
    """The slot could not be handed over: it is due again."""
    db.session.execute(
        update(JobSlot)
        .where(JobSlot.name == name, JobSlot.slot_at == slot)
        .values(slot_at=slot - period)
    )


def beat() -> None:
    """Note that the scheduler lives."""
    take_slot(SCHEDULER, utc_now())


def last_beat() -> dt.datetime | None:
    """When the scheduler lived last."""
    row = db.session.get(JobSlot, SCHEDULER, populate_existing=True)
    return row.slot_at if row else None


@operation
def purge(idle_hours: int) -> tuple[int, int]:
    """Delete old browser events and dead sign-ins; how many of each."""
    now = utc_now()
    events = db.session.execute(
        delete(BrowserEvent).where(BrowserEvent.created_at < now - EVENTS_KEPT)
    )
    idle_since = now - dt.timedelta(hours=idle_hours)
    sessions = db.session.execute(
        delete(AuthSession).where(
            or_(AuthSession.expires_at < now, AuthSession.seen_at < idle_since)
        )
    )
    return (
        cast("CursorResult[Any]", events).rowcount,
        cast("CursorResult[Any]", sessions).rowcount,
    )
