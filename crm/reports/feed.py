"""The feed of a deal: its newest events, page after page, with their calls and requests."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from crm.models import Appeal, Call, RecordingState, TimelineEvent, db
from crm.reports import row_pages
from crm.reports.deal_cards import flag
from crm.security import visibility
from crm.security.principal import Principal

PAGE = 30


@dataclass(frozen=True, slots=True)
class FeedLine:
    """One event with what it is about."""

    event: TimelineEvent
    call: Call | None = None
    audible: bool = False
    appeal: Appeal | None = None


@dataclass(slots=True)
class FeedPage:
    """Lines, newest first, and the key of the page behind."""

    lines: list[FeedLine]
    following: str


def deal_feed(principal: Principal, deal_id: int, after: str = "") -> FeedPage:
    """A page of the feed of a deal that the caller has already found visible (2 to 4 queries)."""
    keys: Any = select(
        TimelineEvent.id,
        TimelineEvent.occurred_at.label("sort_value"),
        TimelineEvent.id.label("sort_id"),
    ).where(TimelineEvent.deal_id == deal_id)
    order = row_pages.Order(TimelineEvent.occurred_at, TimelineEvent.id, dt.datetime)
    page = row_pages.read_page(keys, order, PAGE, after, "")
    events = _events([row.sort_id for row in page.rows])
    calls = _calls(principal, [e.call_id for e in events if e.call_id])
    appeals = _appeals(principal, [e.appeal_id for e in events if e.appeal_id])
    return FeedPage([_line(event, calls, appeals) for event in events], page.following)


def _events(ids: list[int]) -> list[TimelineEvent]:
    if not ids:
        return []
    query = (
        select(TimelineEvent)
        .where(TimelineEvent.id.in_(ids))
        .options(joinedload(TimelineEvent.actor), joinedload(TimelineEvent.comment))
        .order_by(TimelineEvent.occurred_at.desc(), TimelineEvent.id.desc())
    )
    return list(db.session.scalars(query))


def _calls(principal: Principal, ids: list[int]) -> dict[int, tuple[Call, bool]]:
    if not ids:
        return {}
    query = (
        select(Call, flag(visibility.recording_condition(principal)))
        .where(Call.id.in_(ids))
        .options(joinedload(Call.employee), joinedload(Call.source))
    )
    return {call.id: (call, bool(hear)) for call, hear in db.session.execute(query)}


def _appeals(principal: Principal, ids: list[int]) -> dict[int, Appeal]:
    if not ids:
        return {}
    query = select(Appeal).where(Appeal.id.in_(ids)).options(joinedload(Appeal.source))
    found = db.session.scalars(visibility.visible(query, principal, Appeal))
    return {appeal.id: appeal for appeal in found}


def _line(
    event: TimelineEvent, calls: dict[int, tuple[Call, bool]], appeals: dict[int, Appeal]
) -> FeedLine:
    call, hear = calls.get(event.call_id or 0, (None, False))
    stored = call is not None and call.recording_state == RecordingState.STORED
    return FeedLine(event, call, hear and stored, appeals.get(event.appeal_id or 0))
