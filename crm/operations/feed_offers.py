"""What of a listing goes to a portal: the rule of the phone, the photos' addresses, privacy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, Select, and_, func, select

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS, AgencyInfo, Group, Offer, OfferPhoto
from crm.models import (
    Company,
    Employee,
    Feed,
    Listing,
    ListingPhoto,
    ListingState,
    PhotoState,
    StoredFile,
    db,
)
from crm.operations.listing_offers import COLUMNS, offer_of, stored_offer
from crm.values import phones

CHUNK = 500
# Portals that ask for the flat's number when there is no cadastral one; nobody else gets it.
FLAT_NUMBER_DEMANDED = frozenset({"yandex"})
PRIVATE = tuple(name for name, spec in FIELDS.items() if spec.private)
# An imported offer names its former seller: we publish as ourselves.
_CONTACTS = tuple(name for name, spec in FIELDS.items() if spec.group is Group.CONTACTS)
_LISTING, _STAFF = Listing.__table__, Employee.__table__
_PHOTO, _FILE = ListingPhoto.__table__, StoredFile.__table__


@dataclass(frozen=True, slots=True)
class Terms:
    """What is the same for every offer of one feed."""

    agency: AgencyInfo
    company_phone: str | None
    demands_flat_number: bool
    base_url: str
    portal: str
    modern: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A listing ready for a feed."""

    listing_id: int
    offer: Offer


def terms(feed: Feed, company: Company) -> Terms:
    """Terms of a feed; the agency's phone is the portal's tracking number, when there is one."""
    agency = AgencyInfo(
        name=(company.name or "").strip(),
        ogrn_name=(company.ogrn_name or "").strip(),
        phone=phones.e164(feed.phone),
        url=company.site,
        email=company.email,
    )
    return Terms(
        agency=agency,
        company_phone=phones.e164(company.phone),
        demands_flat_number=feed.portal in FLAT_NUMBER_DEMANDED,
        base_url=current_app.config["PUBLIC_URL"],
        portal=feed.portal,
        modern=feed.modern,
    )


def to_offer(listing: Listing, company: Company, feed: Feed) -> Offer:
    """The listing as this feed would publish it (2 queries)."""
    pictures = _photos([listing.id], current_app.config["PUBLIC_URL"])
    person = listing.responsible
    return _published(
        stored_offer(listing, pictures.get(listing.id, ())),
        listing.created_at,
        terms(feed, company),
        person.phone if person else None,
        person.full_name if person else None,
    )


def entries(feed: Feed, company: Company) -> Iterator[Entry]:
    """Every listing of the feed, by their ids, read in pieces; one query a piece more."""
    common = terms(feed, company)
    query = _rows().where(feed_condition(feed)).order_by(Listing.id)
    # The connection itself: sessions add the cost of mapped objects to every row.
    result = db.session.connection().execute(query, execution_options={"yield_per": CHUNK})
    for rows in result.partitions():
        pictures = _photos([row[0] for row in rows], common.base_url)
        for pk, public_id, attributes, created_at, first, last, phone, *columns in rows:
            offer = offer_of(public_id, columns, attributes, pictures.get(pk, ()))
            name = f"{first or ''} {last or ''}".strip() or None
            yield Entry(pk, _published(offer, created_at, common, phone, name))


def feed_condition(feed: Feed) -> ColumnElement[bool]:
    """Which listings the feed has: their state and the feed's filters.

    ``filters``: ``deal_types``, ``kinds`` (words), ``departments`` (ids), ``min_price``.
    """
    states = [ListingState.ACTIVE] + ([ListingState.DEPOSIT] if feed.include_deposit else [])
    conditions: list[ColumnElement[bool]] = [Listing.state.in_(states)]
    filters: Mapping[str, Any] = feed.filters or {}
    for name, column in (
        ("deal_types", Listing.deal_type),
        ("kinds", Listing.kind),
        ("departments", Listing.department_id),
    ):
        if filters.get(name):
            conditions.append(column.in_(filters[name]))
    if (least := min_price(filters.get("min_price"))) is not None:
        conditions.append(Listing.price >= least)
    return and_(*conditions)


def min_price(raw: Any) -> Decimal | None:
    """The least price of a filter, None when it is blank or no number."""
    try:
        price = Decimal(str(raw)) if raw not in (None, "") else None
    except InvalidOperation:
        return None
    return price if price is not None and price.is_finite() and price > 0 else None


def _rows() -> Select[Any]:
    # Plain columns: rows of mapped attributes cost twice as much to read.
    head = [_LISTING.c[name] for name in ("id", "public_id", "attributes", "created_at")]
    person = [_STAFF.c[name] for name in ("first_name", "last_name", "phone")]
    query = select(*head, *person, *(_LISTING.c[name] for name in COLUMNS))
    return query.outerjoin_from(_LISTING, _STAFF, _STAFF.c.id == _LISTING.c.responsible_id)


def _published(
    offer: Offer,
    created_at: dt.datetime,
    common: Terms,
    person_phone: str | None,
    person_name: str | None,
) -> Offer:
    if offer.created_at is None:
        offer.created_at = created_at
    _hide(offer, common)
    developer = offer.owner_role is v.OwnerRole.DEVELOPER
    for name in _CONTACTS:
        setattr(offer, name, [] if name == "phones" else None)
    offer.owner_role = v.OwnerRole.DEVELOPER if developer else v.OwnerRole.AGENT
    offer.contact_name = person_name
    shown = common.agency.phone or common.company_phone or phones.e164(person_phone)
    offer.phones = [shown] if shown else []
    return offer


def _hide(offer: Offer, common: Terms) -> None:
    """A private field leaves us only where the portal demands it."""
    demanded = common.demands_flat_number and not offer.cadastral_number
    for name in PRIVATE:
        if name != "flat_number" or not demanded:
            setattr(offer, name, None)
    offer.extra, offer.notes = {}, []


def _photos(listing_ids: Iterable[int], base_url: str) -> dict[int, list[OfferPhoto]]:
    """Stored pictures at our address; one that still waits, where it lies now."""
    query = (
        select(
            _PHOTO.c.listing_id,
            _PHOTO.c.kind,
            _PHOTO.c.source_url,
            _FILE.c.public_token,
            _FILE.c.key,
        )
        .outerjoin_from(_PHOTO, _FILE, _FILE.c.id == _PHOTO.c.large_id)
        .where(
            _PHOTO.c.listing_id.in_(listing_ids),
            _PHOTO.c.state.in_((PhotoState.STORED, PhotoState.WAITING)),
        )
        .order_by(_PHOTO.c.listing_id, _PHOTO.c.position, _PHOTO.c.id)
    )
    found: dict[int, list[OfferPhoto]] = {}
    last, pictures = 0, []
    for listing_id, kind, source, token, key in db.session.connection().execute(query):
        ours = f"{base_url}/media/{token}{PurePosixPath(key).suffix}" if token else None
        if listing_id != last:
            last, pictures = listing_id, found.setdefault(listing_id, [])
        if url := ours or source:
            pictures.append(OfferPhoto(url, _PHOTO_KINDS[kind]))
    return found


_PHOTO_KINDS = {kind.value: kind for kind in v.PhotoKind}


def newest_change(feed: Feed, company: Company) -> dt.datetime:
    """The last moment at which something in the feed changed; the date written into the file."""
    query = select(func.max(Listing.updated_at)).where(feed_condition(feed))
    moments: list[dt.datetime | None] = [
        db.session.scalar(query),
        feed.updated_at,
        company.updated_at,
    ]
    return max(moment for moment in moments if moment is not None)
