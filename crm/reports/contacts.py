"""Contacts as a list and as a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased, joinedload

from crm.models import Action, Contact, Deal, Employee, Listing, db
from crm.reports import contact_masks, keyset
from crm.reports.search import contacts_matching
from crm.security import masking, visibility
from crm.security.principal import Principal

PAGE = 50
RELATED = 30


@dataclass(frozen=True, slots=True)
class ShownPhone:
    """A number as this person may see it; the id is what a call is started by."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A contact as this person may see it."""

    contact: Contact
    name: str
    phones: tuple[ShownPhone, ...]
    emails: tuple[str, ...]
    hidden: bool
    deals: int
    responsible: Employee | None


def page(
    principal: Principal, text: str, only: str, place: keyset.Place | None
) -> tuple[list[ContactRow], keyset.Place | None]:
    """Contacts, the newest first, and where the next page begins (5 queries).

    ``only``: ``mine`` (responsible for the contact or his deals), ``owners``, or empty.
    """
    query = visibility.visible(_rows(principal), principal, Contact)
    matching = contacts_matching(principal, text)
    if matching is not None:
        query = query.where(matching)
    if only == "owners":
        query = query.where(Contact.is_owner)
    elif only == "mine":
        mine = contact_masks.own_deal(principal)
        query = query.where(mine | (Contact.responsible_id == principal.id))
    if place:
        query = query.where(Contact.id < place.id)
    found = db.session.execute(query.order_by(Contact.id.desc()).limit(PAGE + 1)).all()
    rows = [_row(principal, row) for row in found[:PAGE]]
    more = len(found) > PAGE
    last = rows[-1].contact if more else None
    return rows, keyset.Place(last.created_at, last.id) if last else None


def card(principal: Principal, contact_id: int) -> ContactRow | None:
    """One contact that the person may see."""
    query = visibility.visible(_rows(principal), principal, Contact)
    found = db.session.execute(query.where(Contact.id == contact_id)).one_or_none()
    return _row(principal, found) if found else None


def may_edit(principal: Principal, contact: Contact) -> bool:
    """Whether the person may change this contact."""
    return visibility.may(principal, Action.EDIT, contact)


def deals(principal: Principal, contact_id: int) -> list[Deal]:
    """The contact's deals that the person may see."""
    query = visibility.visible(select(Deal), principal, Deal)
    query = query.where(Deal.contact_id == contact_id).options(
        joinedload(Deal.stage), joinedload(Deal.pipeline), joinedload(Deal.responsible)
    )
    return list(db.session.scalars(query.order_by(Deal.id.desc()).limit(RELATED)))


def listings(principal: Principal, contact_id: int) -> list[Listing]:
    """The contact's own listings that the person may see."""
    query = visibility.visible(select(Listing), principal, Listing)
    query = query.where(Listing.owner_id == contact_id).order_by(Listing.id.desc())
    return list(db.session.scalars(query.limit(RELATED)))


# Made once: an alias of a wide table costs more than the query that it is in.
_DEAL = aliased(Deal)
_PERSON = aliased(Employee)


def _rows(principal: Principal) -> Select[Any]:
    count = (
        select(func.count())
        .where(_DEAL.contact_id == Contact.id, _DEAL.deleted_at.is_(None))
        .scalar_subquery()
    )
    return select(
        Contact,
        _PERSON,
        count.label("deals"),
        contact_masks.own_deal(principal).label("own_deal"),
        contact_masks.own_listing(principal).label("own_listing"),
    ).outerjoin(_PERSON, _PERSON.id == Contact.responsible_id)


def _row(principal: Principal, row: Any) -> ContactRow:
    contact, person, deal_count, own_deal, own_listing = row
    hidden = contact_masks.hidden(
        principal,
        is_owner=contact.is_owner,
        deal_is_own=bool(own_deal),
        listing_is_own=bool(own_listing),
    )
    return ContactRow(
        contact=contact,
        name=masking.shown_name(contact.name, hidden and contact.is_owner),
        phones=tuple(
            ShownPhone(phone.id, masking.shown_phone(phone.number, hidden))
            for phone in contact.phones
        ),
        emails=tuple(masking.shown_email(row.email, hidden) for row in contact.emails),
        hidden=hidden,
        deals=deal_count,
        responsible=person,
    )
