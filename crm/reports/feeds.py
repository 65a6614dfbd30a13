"""Outgoing feeds, imports and their runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import joinedload

from crm.models import Feed, FeedRun, FeedRunItem, ImportFeed, Listing, RunState, db
from crm.security import visibility
from crm.security.principal import Principal

RUNS = 25
ITEMS = 50
CAP = 10_000
GOING_ON = (RunState.QUEUED, RunState.RUNNING)


@dataclass(slots=True)
class FeedRow:
    """A feed or an import with its newest run."""

    feed: Any
    run: FeedRun | None = None


@dataclass(slots=True)
class RunPage:
    """Runs, newest first, and the id the page behind begins after."""

    runs: list[FeedRun]
    following: int | None


@dataclass(slots=True)
class ItemPage:
    """Items of a run; ``listings`` are those of them that the person sees."""

    items: list[FeedRunItem]
    following: int | None
    count: int
    capped: bool
    listings: dict[int, Listing] = field(default_factory=dict)


def outgoing() -> list[FeedRow]:
    """All feeds for portals with their newest runs (2 queries)."""
    feeds = list(db.session.scalars(select(Feed).order_by(Feed.active.desc(), Feed.name)))
    return _with_runs(feeds, FeedRun.feed_id)


def incoming() -> list[FeedRow]:
    """All imports with their newest runs (2 queries)."""
    query = select(ImportFeed).options(
        joinedload(ImportFeed.responsible), joinedload(ImportFeed.department)
    )
    query = query.order_by(ImportFeed.active.desc(), ImportFeed.name)
    return _with_runs(list(db.session.scalars(query)), FeedRun.import_feed_id)


def _with_runs(feeds: list[Any], column: Any) -> list[FeedRow]:
    newest = select(func.max(FeedRun.id)).where(column.is_not(None)).group_by(column)
    runs = db.session.scalars(select(FeedRun).where(FeedRun.id.in_(newest)))
    found = {getattr(run, column.key): run for run in runs}
    return [FeedRow(feed, found.get(feed.id)) for feed in feeds]


def runs_of(
    feed_id: int | None = None, import_id: int | None = None, after: int | None = None
) -> RunPage:
    """A page of the runs of one feed or one import (1 query)."""
    query = select(FeedRun).options(joinedload(FeedRun.actor))
    if feed_id is not None:
        query = query.where(FeedRun.feed_id == feed_id)
    if import_id is not None:
        query = query.where(FeedRun.import_feed_id == import_id)
    if after is not None:
        query = query.where(FeedRun.id < after)
    found = list(db.session.scalars(query.order_by(FeedRun.id.desc()).limit(RUNS + 1)))
    runs = found[:RUNS]
    return RunPage(runs, runs[-1].id if len(found) > RUNS else None)


def run(run_id: int, *, outgoing_run: bool) -> FeedRun | None:
    """A run of a feed, or of an import (1 query)."""
    owner = FeedRun.feed_id if outgoing_run else FeedRun.import_feed_id
    query = select(FeedRun).where(FeedRun.id == run_id, owner.is_not(None))
    query = query.options(
        joinedload(FeedRun.feed), joinedload(FeedRun.import_feed), joinedload(FeedRun.actor)
    )
    found: FeedRun | None = db.session.scalars(query).one_or_none()
    return found


def outcome_counts(run_id: int) -> dict[str, int]:
    """How many items of a run have which outcome (1 query)."""
    query = (
        select(FeedRunItem.outcome, func.count())
        .where(FeedRunItem.run_id == run_id)
        .group_by(FeedRunItem.outcome)
    )
    return {row[0]: row[1] for row in db.session.execute(query)}


def items(
    principal: Principal,
    run_id: int,
    outcome: str = "",
    text: str = "",
    after: int | None = None,
) -> ItemPage:
    """A page of a run's items in the order of the file (3 queries)."""
    query = select(FeedRunItem).where(FeedRunItem.run_id == run_id)
    if outcome:
        query = query.where(FeedRunItem.outcome == outcome)
    if text:
        query = query.where(_matches(text))
    total = db.session.scalar(select(func.count()).select_from(query.limit(CAP + 1).subquery()))
    if after is not None:
        query = query.where(FeedRunItem.id > after)
    found = list(db.session.scalars(query.order_by(FeedRunItem.id).limit(ITEMS + 1)))
    page = found[:ITEMS]
    count = int(total or 0)
    return ItemPage(
        page,
        page[-1].id if len(found) > ITEMS else None,
        min(count, CAP),
        count > CAP,
        _listings(principal, [item.listing_id for item in page if item.listing_id]),
    )


def _matches(text: str) -> ColumnElement[bool]:
    found: list[ColumnElement[bool]] = [FeedRunItem.internal_id == text]
    number = text.lstrip("№ ").replace(" ", "")
    if number.isascii() and number.isdigit() and len(number) < 10:  # noqa: PLR2004
        found.append(FeedRunItem.listing_id == int(number))
    return or_(*found)


def _listings(principal: Principal, ids: list[int]) -> dict[int, Listing]:
    if not ids:
        return {}
    query = visibility.visible(select(Listing), principal, Listing).where(Listing.id.in_(ids))
    return {listing.id: listing for listing in db.session.scalars(query)}


def frequent_reasons(run_id: int, limit: int = 8) -> list[tuple[str, int]]:
    """The commonest reasons among the first thousand refusals of a run (1 query)."""
    query = (
        select(FeedRunItem.reasons)
        .where(FeedRunItem.run_id == run_id, FeedRunItem.outcome == "refused")
        .order_by(FeedRunItem.position)
        .limit(1000)
    )
    counted: dict[str, int] = {}
    for reasons in db.session.scalars(query):
        for reason in reasons or ():
            counted[reason] = counted.get(reason, 0) + 1
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
