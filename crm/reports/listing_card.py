"""One listing with everything its card shows, as this person may see it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from crm.models import (
    Action,
    Contact,
    Deal,
    Employee,
    Listing,
    ListingPhoto,
    PriceChange,
    TimelineEvent,
    db,
)
from crm.reports import contact_masks
from crm.reports.contacts import ShownPhone
from crm.reports.deal_cards import flag
from crm.security import masking, visibility
from crm.security.grants import Grant
from crm.security.principal import Principal

EVENTS = 30
PRICES = 30
DEALS = 30
# Pictures uploaded with shorter pauses than this were one act.
UPLOAD_PAUSE = dt.timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ListingRights:
    """What the person may do with this listing."""

    edit: bool
    transfer: bool
    archive: bool
    copy: bool


@dataclass(frozen=True, slots=True)
class OwnerShown:
    """The owner as this person may see him; without an id his card is closed to the person."""

    name: str
    id: int | None
    phones: tuple[ShownPhone, ...] = ()
    emails: tuple[str, ...] = ()
    hidden: bool = True


@dataclass(frozen=True, slots=True)
class PriceStep:
    """One change of the price and who made it."""

    change: PriceChange
    actor: str


@dataclass(slots=True)
class ListingEvent:
    """One line of the feed; a run of uploads by one person is one line."""

    kind: str
    actor: Employee | None
    occurred_at: dt.datetime
    data: dict[str, Any]


@dataclass(slots=True)
class EventPage:
    """Events, newest first, and the key of the page behind."""

    events: list[ListingEvent]
    following: str


@dataclass(slots=True)
class ListingSheet:
    """The card."""

    listing: Listing
    rights: ListingRights
    owner: OwnerShown | None
    prices: list[PriceStep]
    deals: list[Deal]


def listing_sheet(principal: Principal, listing_id: int) -> ListingSheet | None:
    """The card of a listing that the person sees (7 to 9 queries); None when he does not."""
    query = (
        select(Listing, flag(visibility.condition(principal, Listing, Action.EDIT)))
        .where(Listing.id == listing_id, visibility.condition(principal, Listing))
        .options(
            joinedload(Listing.responsible),
            joinedload(Listing.department),
            selectinload(Listing.photos),
        )
    )
    found = db.session.execute(query).one_or_none()
    if found is None:
        return None
    listing, editable = found
    return ListingSheet(
        listing=listing,
        rights=rights_of(principal, listing, editable=bool(editable)),
        owner=owner_shown(principal, listing),
        prices=price_steps(listing_id),
        deals=deals_of(principal, listing_id),
    )


def rights_of(principal: Principal, listing: Listing, *, editable: bool) -> ListingRights:
    """Buttons of the card; the operations ask the same grants again."""
    own = listing.responsible_id == principal.id
    foreign_copy = not principal.can(Grant.FORBID_COPY_FOREIGN)
    return ListingRights(
        edit=editable,
        transfer=editable and not principal.can(Grant.FORBID_TRANSFER_LISTING),
        archive=editable and not principal.can(Grant.FORBID_ARCHIVE_LISTING),
        copy=principal.may_open("can_add", "Listings") and (own or foreign_copy),
    )


def owner_shown(principal: Principal, listing: Listing) -> OwnerShown | None:
    """The owner of the listing, masked (2 queries); None when there is none."""
    if listing.owner_id is None:
        return None
    seen = flag(visibility.condition(principal, Contact))
    own_deal = flag(contact_masks.own_deal(principal))
    row = db.session.execute(
        select(Contact, seen, own_deal).where(Contact.id == listing.owner_id)
    ).one_or_none()
    if row is None:
        return None
    contact, visible, has_deal = row
    hidden = contact_masks.hidden(
        principal,
        is_owner=True,
        deal_is_own=bool(has_deal),
        listing_is_own=listing.responsible_id == principal.id,
    )
    return _owner(contact, visible=bool(visible), hidden=hidden)


def _owner(contact: Contact, *, visible: bool, hidden: bool) -> OwnerShown:
    if not visible:
        # Whoever may not open the contact learns the first name only.
        return OwnerShown(masking.shown_name(contact.name, True), None)
    return OwnerShown(
        name=masking.shown_name(contact.name, hidden),
        id=contact.id,
        phones=tuple(
            ShownPhone(phone.id, masking.shown_phone(phone.number, hidden))
            for phone in contact.phones
        ),
        emails=tuple(masking.shown_email(row.email, hidden) for row in contact.emails),
        hidden=hidden,
    )


def price_steps(listing_id: int) -> list[PriceStep]:
    """Changes of the price, the newest first (1 query)."""
    query = (
        select(PriceChange, Employee.first_name, Employee.last_name)
        .outerjoin(Employee, Employee.id == PriceChange.actor_id)
        .where(PriceChange.listing_id == listing_id)
        .order_by(PriceChange.changed_at.desc(), PriceChange.id.desc())
        .limit(PRICES)
    )
    return [
        PriceStep(row[0], f"{row.first_name or ''} {row.last_name or ''}".strip())
        for row in db.session.execute(query)
    ]


def deals_of(principal: Principal, listing_id: int) -> list[Deal]:
    """Deals about the listing that the person sees (1 query)."""
    query = visibility.visible(select(Deal), principal, Deal).where(Deal.listing_id == listing_id)
    query = query.options(
        joinedload(Deal.stage),
        joinedload(Deal.contact).lazyload(Contact.phones),
        joinedload(Deal.contact).lazyload(Contact.emails),
        joinedload(Deal.responsible),
    )
    return list(db.session.scalars(query.order_by(Deal.id.desc()).limit(DEALS)))


def listing_feed(listing_id: int, after: str = "") -> EventPage:
    """A page of the feed of a listing that the caller has already found visible (1 query)."""
    moment, number = TimelineEvent.occurred_at, TimelineEvent.id
    query = select(TimelineEvent).where(TimelineEvent.listing_id == listing_id)
    place = _read_place(after)
    if place is not None:
        at, last = place
        query = query.where((moment < at) | ((moment == at) & (number < last)))
    query = query.options(joinedload(TimelineEvent.actor))
    found = list(db.session.scalars(query.order_by(moment.desc(), number.desc()).limit(EVENTS + 1)))
    events = found[:EVENTS]
    last_event = events[-1] if len(found) > EVENTS else None
    following = f"{last_event.occurred_at.isoformat()}~{last_event.id}" if last_event else ""
    return EventPage(_joined(events), following)


def _joined(events: list[TimelineEvent]) -> list[ListingEvent]:
    lines: list[ListingEvent] = []
    for event in events:
        line = ListingEvent(event.kind, event.actor, event.occurred_at, dict(event.data or {}))
        if lines and _same_upload(lines[-1], line):
            lines[-1].data["added"] += line.data["added"]
        else:
            lines.append(line)
    return lines


def _same_upload(newer: ListingEvent, older: ListingEvent) -> bool:
    added = "added" in newer.data and "added" in older.data
    close = newer.occurred_at - older.occurred_at < UPLOAD_PAUSE
    return added and close and newer.kind == older.kind and newer.actor is older.actor


def _read_place(text: str) -> tuple[dt.datetime, int] | None:
    moment, _, number = text[:60].partition("~")
    if not number.isascii() or not number.isdigit() or len(number) > 10:  # noqa: PLR2004
        return None
    try:
        # A plus sign of the zone arrives as a space when the address was not encoded.
        at = dt.datetime.fromisoformat(moment.replace(" ", "+"))
    except ValueError:
        return None
    return (at, int(number)) if at.tzinfo else None


def visible_photo(principal: Principal, photo_id: int, size: str) -> Any:
    """The stored file of a photo's size when the person sees its listing (1 query)."""
    relation = getattr(ListingPhoto, size)
    query = (
        select(ListingPhoto)
        .join(Listing, Listing.id == ListingPhoto.listing_id)
        .where(ListingPhoto.id == photo_id, visibility.condition(principal, Listing))
        .options(joinedload(relation))
    )
    photo = db.session.scalars(query).one_or_none()
    return getattr(photo, size) if photo is not None else None
