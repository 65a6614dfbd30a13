"""The journal of changes, page after page."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import joinedload

from crm.models import AuditEntry, db
from crm.values.clock import day_bounds

PAGE = 50


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to show; None means any. Days are the agency's."""

    actor_id: int | None = None
    object_type: str = ""
    object_id: int | None = None
    action: str = ""
    since: dt.date | None = None
    until: dt.date | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries of one page and the keys of its neighbours."""

    entries: list[AuditEntry]
    previous: str
    following: str


def entries(wanted: AuditFilter, zone: Any, after: str = "", before: str = "") -> AuditPage:
    """Newest first (1 query); a key that makes no sense gives the first page."""
    backward, place = bool(before) and not after, _place(after or before)
    query = _narrowed(select(AuditEntry).options(joinedload(AuditEntry.actor)), wanted, zone)
    key = tuple_(AuditEntry.at, AuditEntry.id)
    if place is not None:
        query = query.where(key > place if backward else key < place)
    order = (AuditEntry.at, AuditEntry.id)
    query = query.order_by(*(c.asc() if backward else c.desc() for c in order)).limit(PAGE + 1)
    rows = list(db.session.scalars(query))
    more, rows = len(rows) > PAGE, rows[:PAGE]
    if backward:
        rows.reverse()
    newer = more if backward else place is not None
    older = place is not None if backward else more
    return AuditPage(
        rows, _key(rows[0]) if rows and newer else "", _key(rows[-1]) if rows and older else ""
    )


def _key(entry: AuditEntry) -> str:
    """Place of an entry in the journal, fit for an address."""
    return f"{entry.at:%Y%m%dT%H%M%S.%f}-{entry.id}"


def _place(key: str) -> tuple[dt.datetime, int] | None:
    moment, _dash, number = key.partition("-")
    if not number.isdecimal() or int(number) >= 2**31:
        return None
    try:
        at = dt.datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return at, int(number)


def _narrowed(query: Select[Any], wanted: AuditFilter, zone: Any) -> Select[Any]:
    if wanted.actor_id is not None:
        query = query.where(AuditEntry.actor_id == wanted.actor_id)
    if wanted.object_type:
        query = query.where(AuditEntry.object_type == wanted.object_type)
    if wanted.object_id is not None:
        query = query.where(AuditEntry.object_id == wanted.object_id)
    if wanted.action:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.since:
        query = query.where(AuditEntry.at >= day_bounds(wanted.since, zone)[0])
    if wanted.until:
        query = query.where(AuditEntry.at < day_bounds(wanted.until, zone)[1])
    return query
