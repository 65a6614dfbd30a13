"""Listings that seem to be the same object: by address and flat, by registry, by owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, and_, select

from crm.integrations.portals import vocabulary as v
from crm.models import ContactPhone, Listing, ListingState, db
from crm.security import visibility
from crm.security.principal import Principal

# A second measurement of the same flat differs by no more than this.
AREA_TOLERANCE = Decimal("0.02")
LIMIT = 10
_DEAD = (ListingState.CLOSED, ListingState.ARCHIVE)
# Their address alone is one object; a house of flats has many under one address.
_ALONE = frozenset(str(kind) for kind in v.HOUSES | v.PLOTS)

Rule = Callable[[Listing], ColumnElement[bool] | None]


@dataclass(frozen=True, slots=True)
class Double:
    """Another listing and why it seems to be the same object."""

    listing_id: int
    message: str


def find_doubles(listing: Listing, by: Principal | None = None) -> list[Double]:
    """Live listings of the same deal that seem to be the same object, at most ten.

    Only those that ``by`` may see. At most three queries.
    """
    found: dict[int, Double] = {}
    for rule, reason in _rules():
        condition = rule(listing)
        if condition is None:
            continue
        query = select(Listing.id).where(
            Listing.id != listing.id,
            Listing.deal_type == listing.deal_type,
            Listing.state.not_in(_DEAD),
            condition,
        )
        if by is not None:
            query = visibility.visible(query, by, Listing)
        for pk in db.session.scalars(query.order_by(Listing.id).limit(LIMIT)):
            message = _("Похоже на объект № %(id)s: %(reason)s.", id=pk, reason=reason)
            found.setdefault(pk, Double(pk, message))
    return list(found.values())[:LIMIT]


def _rules() -> tuple[tuple[Rule, str], ...]:
    return (
        (_same_cadastral, _("тот же кадастровый номер")),
        (_same_place, _("тот же адрес")),
        (_same_owner, _("тот же собственник, вид, площадь и этаж")),
    )


def _same_cadastral(listing: Listing) -> ColumnElement[bool] | None:
    number = listing.cadastral_number
    return Listing.cadastral_number == number if number else None


def _same_place(listing: Listing) -> ColumnElement[bool] | None:
    if not listing.address_key:
        return None
    here = Listing.address_key == listing.address_key
    if listing.flat_number:
        return and_(here, Listing.flat_number == listing.flat_number)
    if listing.kind not in _ALONE:
        return None
    return and_(here, Listing.flat_number.is_(None), Listing.kind == listing.kind)


def _same_owner(listing: Listing) -> ColumnElement[bool] | None:
    if listing.owner_id is None or not listing.area_total:
        return None
    keys = select(ContactPhone.key).where(ContactPhone.contact_id == listing.owner_id)
    owners = select(ContactPhone.contact_id).where(ContactPhone.key.in_(keys))
    spread = listing.area_total * AREA_TOLERANCE
    same_floor = (
        Listing.floor.is_(None) if listing.floor is None else Listing.floor == listing.floor
    )
    return and_(
        Listing.owner_id.in_(owners),
        Listing.kind == listing.kind,
        Listing.area_total.between(listing.area_total - spread, listing.area_total + spread),
        same_floor,
    )
