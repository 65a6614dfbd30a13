"""Which listings the list shows: the filters of the address and their SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, true
from werkzeug.datastructures import MultiDict

from crm.integrations.portals import vocabulary as v
from crm.models import (
    Feed,
    FeedRun,
    FeedRunItem,
    Listing,
    ListingPhoto,
    ListingState,
    RunState,
    SearchToken,
)
from crm.security import visibility
from crm.security.principal import Principal

Condition = ColumnElement[bool]
NOBODY = 0
ALL_STATES = "all"
# Shown unless asked otherwise: what is being worked with.
CURRENT = (
    ListingState.DRAFT,
    ListingState.MODERATION,
    ListingState.ACTIVE,
    ListingState.DEPOSIT,
)
ROOMS = ("1", "2", "3", "4")
_LAST_ROOMS = 4
_MAX_ID = 2**31 - 1
_ID_DIGITS = 10
_MAX_WORDS = 5


@dataclass(frozen=True, slots=True)
class ListingFilters:
    """Conditions of the address; empty ones let everything through."""

    q: str = ""
    deal_type: str = ""
    kind: str = ""
    # Numbers separated by commas; «4» means four and more.
    rooms: str = ""
    price_from: Decimal | None = None
    price_to: Decimal | None = None
    area_from: Decimal | None = None
    area_to: Decimal | None = None
    place: str = ""
    state: str = ""
    responsible: int | None = None
    mine: bool = False
    no_photos: bool = False
    refused: bool = False

    @classmethod
    def parse(cls, args: MultiDict[str, str]) -> ListingFilters:
        """Read query arguments; what cannot be understood is left out."""
        return cls(
            q=_text(args.get("q")),
            deal_type=_one_of(args.get("deal_type"), v.DealType),
            kind=_one_of(args.get("kind"), v.Kind),
            rooms=_rooms(args.getlist("rooms")),
            place=_text(args.get("place")),
            state=_one_of(args.get("state"), (*ListingState, ALL_STATES)),
            responsible=_number(args.get("responsible")),
            price_from=_decimal(args.get("price_from")),
            price_to=_decimal(args.get("price_to")),
            area_from=_decimal(args.get("area_from")),
            area_to=_decimal(args.get("area_to")),
            mine=args.get("mine") == "1",
            no_photos=args.get("no_photos") == "1",
            refused=args.get("refused") == "1",
        )

    def args(self, **changes: Any) -> dict[str, str]:
        """Query arguments of these filters with ``changes`` made; empty ones are left out."""
        changed = replace(self, **changes)
        pairs = ((item.name, getattr(changed, item.name)) for item in fields(changed))
        return {
            name: "1" if value is True else str(value)
            for name, value in pairs
            if value not in ("", None, False) or (name == "responsible" and value == NOBODY)
        }

    def without(self, *names: str) -> dict[str, str]:
        """Query arguments with the named conditions taken off."""
        defaults = ListingFilters()
        return self.args(**{name: getattr(defaults, name) for name in names})

    @property
    def narrowed(self) -> bool:
        """Whether anything at all is asked for."""
        return self != ListingFilters()


def conditions(principal: Principal, filters: ListingFilters) -> list[Condition]:
    """SQL of the filters on top of what the person may see."""
    found = [visibility.condition(principal, Listing)]
    same = ((Listing.deal_type, filters.deal_type), (Listing.kind, filters.kind))
    found += [column == value for column, value in same if value]
    found += _states(filters)
    found += _ranges(filters)
    if filters.rooms:
        found.append(_rooms_condition(filters.rooms))
    if filters.place:
        found.append(_place(filters.place))
    if filters.q:
        found.append(text_condition(filters.q))
    if filters.no_photos:
        found.append(~exists().where(ListingPhoto.listing_id == Listing.id))
    if filters.refused:
        found.append(Listing.id.in_(refused_ids()))
    return found + _whose(principal, filters)


def latest_runs() -> Select[Any]:
    """Ids of the last finished build of every feed that is in use."""
    return (
        select(func.max(FeedRun.id))
        .join(Feed, Feed.id == FeedRun.feed_id)
        .where(Feed.active, FeedRun.state == RunState.DONE, ~FeedRun.dry_run)
        .group_by(FeedRun.feed_id)
    )


def refused_ids() -> Select[Any]:
    """Ids of listings that the last builds left out, with whatever portal."""
    return select(FeedRunItem.listing_id).where(
        FeedRunItem.run_id.in_(latest_runs()),
        FeedRunItem.outcome == "refused",
        FeedRunItem.listing_id.is_not(None),
    )


def text_condition(text: str) -> Condition:
    """Listings by number, by the number at portals, or by words of the address."""
    number = text.lstrip("№ ").replace(" ", "").replace("\u00a0", "")
    words: Condition = true()
    for word in _words(text):
        tokens = select(SearchToken.object_id).where(
            SearchToken.kind == "listing",
            SearchToken.token >= word,
            SearchToken.token < word + "\uffff",
        )
        words = and_(words, Listing.id.in_(tokens))
    found: list[Condition] = [words, Listing.public_id == text, Listing.internal_id == text]
    if number.isascii() and number.isdigit() and int(number) <= _MAX_ID:
        found.append(Listing.id == int(number))
    return or_(*found)


def _words(text: str) -> list[str]:
    signs = "".join(sign if sign.isalnum() else " " for sign in text.casefold())
    return signs.replace("ё", "е").split()[:_MAX_WORDS] or ["\uffff"]


def _states(filters: ListingFilters) -> list[Condition]:
    if filters.state == ALL_STATES or (not filters.state and filters.q):
        return []
    if filters.state:
        return [Listing.state == filters.state]
    return [Listing.state.in_(CURRENT)]


def _ranges(filters: ListingFilters) -> list[Condition]:
    ranges = (
        (Listing.price, filters.price_from, filters.price_to),
        # A plot has no total area: its own stands for it.
        (
            func.coalesce(Listing.area_total, Listing.land_area_m2),
            filters.area_from,
            filters.area_to,
        ),
    )
    found: list[Condition] = []
    for column, least, most in ranges:
        if least is not None:
            found.append(column >= least)
        if most is not None:
            found.append(column <= most)
    return found


def _whose(principal: Principal, filters: ListingFilters) -> list[Condition]:
    if filters.mine:
        return [Listing.responsible_id == principal.id]
    if filters.responsible is not None:
        return [Listing.responsible_id == (filters.responsible or None)]
    return []


def _rooms_condition(text: str) -> Condition:
    numbers = [int(part) for part in text.split(",")]
    found: list[Condition] = [Listing.rooms.in_(numbers)]
    if _LAST_ROOMS in numbers:
        found.append(Listing.rooms > _LAST_ROOMS)
    return or_(*found)


def _place(text: str) -> Condition:
    """Any of the names of the place holds the text."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    # SQLite folds only Latin letters: the usual spellings are tried.
    variants = sorted({escaped, escaped.lower(), escaped.capitalize(), escaped.title()})
    columns = (Listing.locality, Listing.sub_locality, Listing.district, Listing.region)
    return or_(
        *(column.like(f"%{variant}%", escape="\\") for column in columns for variant in variants)
    )


def _text(value: str | None) -> str:
    return (value or "").replace("\x00", "").strip()[:100]


def _one_of(value: str | None, allowed: Iterable[str]) -> str:
    return value if value and value in {str(word) for word in allowed} else ""


def _number(text: str | None) -> int | None:
    if not text or not text.isascii() or not text.isdigit() or len(text) > _ID_DIGITS:
        return None
    return min(int(text), _MAX_ID)


def _decimal(text: str | None) -> Decimal | None:
    cleaned = (text or "").replace("\u00a0", "").replace(" ", "").replace(",", ".")[:20]
    try:
        value = Decimal(cleaned)
    except InvalidOperation:
        return None
    return value if value.is_finite() and 0 <= value < Decimal(10) ** 13 else None


def _rooms(values: list[str]) -> str:
    chosen = {part.strip() for value in values for part in value.split(",")}
    return ",".join(number for number in ROOMS if number in chosen)
