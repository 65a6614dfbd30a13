"""Missed calls as a list of work: one line a client, those that wait for a call back first."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, cast, func, or_, select

from crm.models import Call, Deal, db
from crm.reports import calls, keyset
from crm.reports.call_filters import CallFilter, waiting_condition
from crm.reports.calls import CallRow
from crm.reports.company import company_zone, local_today
from crm.security import visibility
from crm.security.call_rights import settle_condition
from crm.security.principal import Principal
from crm.values.clock import day_bounds

PAGE = 50
WAITING, SETTLED = "waiting", "settled"
# Without a period, older missed calls that are settled are not looked through.
LOOK_BACK = dt.timedelta(days=7)
Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class MissedRow:
    """A client whose calls were missed; ``row`` is the latest of them."""

    row: CallRow
    attempts: int
    due_at: dt.datetime | None
    waiting: bool
    may_settle: bool
    may_take: bool

    @property
    def call(self) -> Call:
        return self.row.call


@dataclass(frozen=True, slots=True)
class Following:
    """Where the next page begins: in which part and behind which line."""

    part: str
    place: keyset.Place | None


@dataclass(slots=True)
class WorkList:
    """One page of the work."""

    rows: list[MissedRow]
    following: Following | None


def work_list(
    principal: Principal, wanted: CallFilter, part: str, place: keyset.Place | None
) -> WorkList:
    """Up to 50 clients: those who wait, the newest first, then the settled ones (2-3 queries)."""
    found: list[Any] = []
    following: Following | None = None
    if part != SETTLED:
        found, following = _part(principal, wanted, WAITING, place, PAGE)
        place = None
    if following is None:
        more, following = _part(principal, wanted, SETTLED, place, PAGE - len(found))
        found += more
    return WorkList(_rows(principal, found), following)


def waiting_clients(principal: Principal, wanted: CallFilter | None = None) -> Select[Any]:
    """One row for each client who waits for a call back: for counting."""
    query = _missed(principal, wanted or CallFilter()).where(
        waiting_condition(), Call.client_key.is_not(None)
    )
    return query.with_only_columns(Call.client_key).distinct()


def _part(
    principal: Principal, wanted: CallFilter, part: str, place: keyset.Place | None, size: int
) -> tuple[list[Any], Following | None]:
    query = _calls(principal, wanted, part).subquery()
    clients = select(query).where(query.c.place == 1)
    if place is not None:
        clients = clients.where(keyset.after(query.c.last_at, query.c.last_id, place))
    ordered = clients.order_by(query.c.last_at.desc(), query.c.last_id.desc()).limit(size + 1)
    found = list(db.session.execute(ordered))
    if len(found) <= size:
        return found, None
    kept = found[:size]
    behind = keyset.Place(kept[-1].last_at, kept[-1].last_id) if kept else None
    return kept, Following(part, behind)


def _calls(principal: Principal, wanted: CallFilter, part: str) -> Select[Any]:
    """Calls of a part: which of its client's it is, how many he made, until when to call back."""
    query = _missed(principal, wanted)
    if part == WAITING:
        query = query.where(waiting_condition())
    else:
        waiting = waiting_clients(principal, wanted).correlate(None)
        settled = or_(Call.client_key.is_(None), Call.client_key.not_in(waiting))
        query = query.where(settled, *_recent(wanted))
    # A call without a number is a client of its own.
    client = func.coalesce(Call.client_key, cast(Call.id, String))
    newest = (Call.started_at.desc(), Call.id.desc())
    return query.with_only_columns(
        Call.started_at.label("last_at"),
        Call.id.label("last_id"),
        func.row_number().over(partition_by=client, order_by=newest).label("place"),
        func.count().over(partition_by=client).label("attempts"),
        func.min(Call.callback_due_at).over(partition_by=client).label("due_at"),
    )


def _missed(principal: Principal, wanted: CallFilter) -> Select[Any]:
    return calls.matching(principal, wanted.of_segment(result="missed", callback=wanted.callback))


def _recent(wanted: CallFilter) -> list[Condition]:
    if any(wanted.days):
        return []
    since = day_bounds(local_today() - LOOK_BACK, company_zone())[0]
    return [Call.started_at >= since]


def _rows(principal: Principal, found: list[Any]) -> list[MissedRow]:
    """Whole lines in the order of ``found``."""
    if not found:
        return []
    take = and_(
        Deal.id.is_not(None),
        Deal.responsible_id.is_(None),
        visibility.may_take_condition(principal),
    )
    query = calls.rows_query(
        principal,
        settle_condition(principal).label("may_settle"),
        take.label("may_take"),
    )
    query = query.where(Call.id.in_([line.last_id for line in found]))
    by_id = {row[0].id: row for row in db.session.execute(query)}
    return [_row(principal, line, by_id[line.last_id]) for line in found if line.last_id in by_id]


def _row(principal: Principal, line: Any, read: Any) -> MissedRow:
    call, deal_shown, may_hear, may_settle, may_take = read
    row = calls.row(principal, call, deal_shown, may_hear)
    return MissedRow(
        row=row,
        attempts=line.attempts,
        due_at=line.due_at if row.waits else None,
        waiting=row.waits,
        may_settle=bool(may_settle) and row.waits,
        may_take=bool(may_take),
    )
