"""The list of listings: one page by key, a capped count, and the rows of an export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import joinedload

from crm.models import (
    Action,
    Employee,
    Feed,
    FeedRun,
    FeedRunItem,
    Listing,
    ListingPhoto,
    PhotoState,
    db,
)
from crm.operations import feed_offers
from crm.reports.deal_cards import flag
from crm.reports.listing_filters import ListingFilters, conditions, latest_runs
from crm.security import visibility
from crm.security.principal import Principal

PAGE = 25
CAP = 10_000
EXPORT_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ListOrder:
    """A column the list may be ordered by; rows without a value come last."""

    column: Any
    nullable: bool = True


ORDERS: dict[str, ListOrder] = {
    "new": ListOrder(Listing.id, nullable=False),
    "price": ListOrder(Listing.price),
    "area": ListOrder(Listing.area_total),
}


@dataclass(slots=True)
class PortalMark:
    """What the last builds of the feeds said: reasons by feed, or that all took it."""

    refused: dict[str, list[str]] = field(default_factory=dict)

    @property
    def reasons(self) -> str:
        """All reasons in one text."""
        return "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in self.refused.items())


@dataclass(slots=True)
class ListingRow:
    """A listing as the list shows it."""

    listing: Listing
    editable: bool
    cover_id: int | None = None
    photos: int = 0
    mark: PortalMark | None = None


@dataclass(slots=True)
class ListingPage:
    """One page of the list; ``previous`` and ``following`` are keys, empty at the ends."""

    rows: list[ListingRow]
    previous: str
    following: str
    count: int
    capped: bool


def listing_page(
    principal: Principal,
    filters: ListingFilters,
    *,
    order: str = "new",
    descending: bool = True,
    after: str = "",
    before: str = "",
) -> ListingPage:
    """25 listings that the person sees (at most 8 queries)."""
    query = select(Listing.id).where(*conditions(principal, filters))
    by = ORDERS.get(order, ORDERS["new"])
    ids, more_before, more_after = _page_ids(query, by, descending, after, before)
    found = db.session.scalar(
        select(func.count()).select_from(query.limit(CAP + 1).order_by(None).subquery())
    )
    count = int(found or 0)
    rows = listing_rows(principal, ids)
    keys = [_key(by, row.listing) for row in rows]
    return ListingPage(
        rows,
        keys[0] if keys and more_before else "",
        keys[-1] if keys and more_after else "",
        min(count, CAP),
        count > CAP,
    )


def matching_ids(principal: Principal, filters: ListingFilters, limit: int) -> list[int]:
    """Ids of the newest matching listings: «выбрать все»."""
    query = select(Listing.id).where(*conditions(principal, filters))
    return list(db.session.scalars(query.order_by(Listing.id.desc()).limit(limit)))


def export(principal: Principal, filters: ListingFilters) -> Iterator[ListingRow]:
    """All matching listings that the person may export, newest first, a chunk a time."""
    query = select(Listing.id).where(
        *conditions(principal, filters),
        visibility.condition(principal, Listing, Action.EXPORT),
    )
    last: int | None = None
    while True:
        part = query if last is None else query.where(Listing.id < last)
        ids = list(db.session.scalars(part.order_by(Listing.id.desc()).limit(EXPORT_CHUNK)))
        rows = listing_rows(principal, ids)
        yield from rows
        for row in rows:
            # Rows already sent are let go: a hundred thousand of them would not fit.
            db.session.expunge(row.listing)
        if len(ids) < EXPORT_CHUNK:
            return
        last = ids[-1]


def listing_rows(principal: Principal, ids: Sequence[int]) -> list[ListingRow]:
    """The listings with covers and marks, in the order of ``ids`` (at most 6 queries)."""
    if not ids:
        return []
    editable = flag(visibility.condition(principal, Listing, Action.EDIT))
    query = (
        select(Listing, editable)
        .where(Listing.id.in_(ids))
        .options(joinedload(Listing.responsible).lazyload(Employee.department))
    )
    found = {row[0].id: ListingRow(row[0], bool(row[1])) for row in db.session.execute(query)}
    rows = [found[pk] for pk in ids if pk in found]
    _add_covers(found)
    _add_marks(found)
    return rows


def _add_covers(rows: dict[int, ListingRow]) -> None:
    photos = (
        select(ListingPhoto.id, ListingPhoto.listing_id, ListingPhoto.state)
        .where(ListingPhoto.listing_id.in_(rows))
        .order_by(ListingPhoto.listing_id, ListingPhoto.position, ListingPhoto.id)
    )
    for photo in db.session.execute(photos):
        row = rows[photo.listing_id]
        row.photos += 1
        if row.cover_id is None and photo.state == PhotoState.STORED:
            row.cover_id = photo.id


def _add_marks(rows: dict[int, ListingRow]) -> None:
    """What the last builds said of the listings that the feeds take (at most 4 queries)."""
    feeds = list(db.session.scalars(select(Feed).where(Feed.active, Feed.built_at.is_not(None))))
    if not feeds:
        return
    wanted = or_(*(feed_offers.feed_condition(feed) for feed in feeds))
    for pk in db.session.scalars(select(Listing.id).where(Listing.id.in_(rows), wanted)):
        rows[pk].mark = PortalMark()
    query = (
        select(FeedRunItem.listing_id, FeedRunItem.reasons, Feed.name)
        .join(FeedRun, FeedRun.id == FeedRunItem.run_id)
        .join(Feed, Feed.id == FeedRun.feed_id)
        .where(
            FeedRunItem.run_id.in_(list(db.session.scalars(latest_runs()))),
            FeedRunItem.outcome == "refused",
            FeedRunItem.listing_id.in_(rows),
        )
    )
    for item in db.session.execute(query):
        mark = rows[item.listing_id].mark
        if mark is not None:
            mark.refused[item.name] = list(item.reasons)


# --- paging by the last row shown ---------------------------------------------------


def _page_ids(
    query: Select[Any], by: ListOrder, descending: bool, after: str, before: str
) -> tuple[list[int], bool, bool]:
    """Ids of the page, whether there are pages before it and behind it."""
    cursor = _read_key(by, before or after)
    backwards = bool(before) and cursor is not None
    if cursor is not None:
        query = query.where(_beyond(by, cursor, descending, backwards=backwards))
    query = query.order_by(*_ordering(by, descending, backwards=backwards)).limit(PAGE + 1)
    found = list(db.session.scalars(query))
    more, ids = len(found) > PAGE, found[:PAGE]
    if backwards:
        return ids[::-1], more, True
    return ids, cursor is not None, more


def _ordering(by: ListOrder, descending: bool, *, backwards: bool) -> list[Any]:
    falling = descending is not backwards
    number = Listing.id.desc() if falling else Listing.id.asc()
    if not by.nullable:
        return [number]
    value = by.column.desc() if falling else by.column.asc()
    return [value.nulls_first() if backwards else value.nulls_last(), number]


def _beyond(
    by: ListOrder, cursor: tuple[Decimal | None, int], descending: bool, *, backwards: bool
) -> ColumnElement[bool]:
    """Rows that come after the cursor in the order they are read in."""
    value, pk = cursor
    falling = descending is not backwards
    next_id = Listing.id < pk if falling else Listing.id > pk
    if not by.nullable:
        return next_id
    if value is None:
        unset = and_(by.column.is_(None), next_id)
        return or_(by.column.is_not(None), unset) if backwards else unset
    further = by.column < value if falling else by.column > value
    same = and_(by.column == value, next_id)
    return or_(further, same) if backwards else or_(further, same, by.column.is_(None))


def _key(by: ListOrder, listing: Listing) -> str:
    value = getattr(listing, by.column.key) if by.nullable else None
    return f"{'' if value is None else value}~{listing.id}"


def _read_key(by: ListOrder, text: str) -> tuple[Decimal | None, int] | None:
    """The key written by ``_key``; None for anything else."""
    value, _, number = text[:60].partition("~")
    if not number.isascii() or not number.isdigit() or len(number) > 10:  # noqa: PLR2004
        return None
    if not by.nullable or not value:
        return None, int(number)
    try:
        parsed = Decimal(value)
    except InvalidOperation:
        return None
    return (parsed, int(number)) if parsed.is_finite() else None
