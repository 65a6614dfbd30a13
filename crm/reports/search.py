"""One search for everything: number of a deal, phone in any form, words of a name or an address.

Words go through the index of prefixes, phones through match keys, so that no table is read whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, or_, select
from sqlalchemy.orm import joinedload, lazyload

from crm.models import Contact, ContactPhone, Deal, Listing, SearchToken, db
from crm.operations.search_index import CONTACT, LISTING, words
from crm.reports import contact_masks
from crm.reports.calls import FULL_NUMBER, SHORTEST_TAIL, tail
from crm.security import masking, visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones

MAX_WORDS = 5
_LARGEST_ID = 2**31 - 1
_NUMBER = re.compile(r"^(?:№|#|n)?\s*(\d{1,10})$", re.IGNORECASE)
_END = "\uffff"


@dataclass(frozen=True, slots=True)
class FoundDeal:
    """A deal and its client's shown name or phone."""

    deal: Deal
    client: str


@dataclass(frozen=True, slots=True)
class FoundContact:
    """A contact with his name and numbers as this person may see them."""

    contact: Contact
    name: str
    # Id, by which it is called, and the number as it is shown.
    numbers: tuple[tuple[int, str], ...]

    @property
    def phones(self) -> tuple[str, ...]:
        return tuple(shown for _pk, shown in self.numbers)


@dataclass(slots=True)
class Found:
    """What the person may open, by kind; ``known`` answers about a whole phone number."""

    deals: list[FoundDeal] = field(default_factory=list)
    contacts: list[FoundContact] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    # For a person from whom numbers are hidden: whether the number is known at all.
    known: bool | None = None

    @property
    def empty(self) -> bool:
        return not (self.deals or self.contacts or self.listings)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a typed text may mean."""

    words: tuple[str, ...]
    number: int | None
    digits: str

    @property
    def whole_phone(self) -> bool:
        return len(self.digits) >= FULL_NUMBER


def understand(text: str) -> Wanted:
    """Read a typed text; an empty one means nothing."""
    numbered = _NUMBER.match(text.strip())
    number = int(numbered[1]) if numbered else None
    digits = phones.search_digits(text) or ""
    spoken = tuple(words(text)[:MAX_WORDS]) if not numbered and not digits else ()
    in_range = number is not None and 0 < number <= _LARGEST_ID
    return Wanted(
        spoken, number if in_range else None, digits if len(digits) >= SHORTEST_TAIL else ""
    )


def search(principal: Principal, text: str, limit: int = 8) -> Found:
    """Up to ``limit`` of each kind that the person may see (at most 7 queries)."""
    wanted = understand(text)
    if not wanted.words and not wanted.digits and wanted.number is None:
        return Found()
    return Found(
        deals=_deals(principal, wanted, limit),
        contacts=_contacts(principal, wanted, limit),
        listings=_listings(principal, wanted, limit),
        known=_known(principal, wanted),
    )


def contacts_matching(principal: Principal, text: str) -> ColumnElement[bool] | None:
    """Condition on Contact for a typed name or phone; None when the text says nothing."""
    wanted = understand(text)
    by_text = _contact_condition(principal, wanted)
    if not wanted.words and not wanted.digits:
        return false() if text.strip() else None
    return by_text


# --- kinds ----------------------------------------------------------------------------------------


def _deals(principal: Principal, wanted: Wanted, limit: int) -> list[FoundDeal]:
    by_number = [Deal.id == wanted.number] if wanted.number is not None else []
    by_client = Deal.contact_id.in_(
        select(Contact.id).where(_contact_condition(principal, wanted)).correlate(None)
    )
    query = (
        visibility.visible(select(Deal), principal, Deal)
        .where(or_(by_client, *by_number))
        .options(
            joinedload(Deal.stage),
            joinedload(Deal.contact).options(lazyload(Contact.emails)),
            joinedload(Deal.responsible),
        )
        .order_by(Deal.id.desc())
        .limit(limit)
    )
    return [FoundDeal(deal, _client(principal, deal)) for deal in db.session.scalars(query)]


def _client(principal: Principal, deal: Deal) -> str:
    contact = deal.contact
    if contact is None:
        return ""
    hidden = contact_masks.hidden(
        principal,
        is_owner=contact.is_owner,
        deal_is_own=deal.responsible_id == principal.id,
    )
    if contact.name:
        return masking.shown_name(contact.name, hidden and contact.is_owner)
    return next((masking.shown_phone(phone.number, hidden) for phone in contact.phones), "")


def _contacts(principal: Principal, wanted: Wanted, limit: int) -> list[FoundContact]:
    query: Any = select(
        Contact, contact_masks.own_deal(principal), contact_masks.own_listing(principal)
    )
    query = (
        visibility.visible(query, principal, Contact)
        .where(_contact_condition(principal, wanted))
        .options(lazyload(Contact.emails))
        .order_by(Contact.id.desc())
        .limit(limit)
    )
    return [_found_contact(principal, *row) for row in db.session.execute(query)]


def _found_contact(
    principal: Principal, contact: Contact, deal_is_own: bool, listing_is_own: bool
) -> FoundContact:
    hidden = contact_masks.hidden(
        principal,
        is_owner=contact.is_owner,
        deal_is_own=bool(deal_is_own),
        listing_is_own=bool(listing_is_own),
    )
    shown = [(phone.id, masking.shown_phone(phone.number, hidden)) for phone in contact.phones]
    name = masking.shown_name(contact.name, hidden and contact.is_owner)
    return FoundContact(contact, name, tuple(shown))


def _listings(principal: Principal, wanted: Wanted, limit: int) -> list[Listing]:
    if wanted.number is None and not wanted.words:
        return []
    conditions = [Listing.id == wanted.number] if wanted.number is not None else []
    if wanted.words:
        conditions.append(_by_words(LISTING, Listing.id, wanted.words))
    query = visibility.visible(select(Listing), principal, Listing).where(or_(*conditions))
    return list(db.session.scalars(query.order_by(Listing.id.desc()).limit(limit)))


# --- matching -------------------------------------------------------------------------------------


def _contact_condition(principal: Principal, wanted: Wanted) -> ColumnElement[bool]:
    if wanted.words:
        by_name = _by_words(CONTACT, Contact.id, wanted.words)
        return and_(by_name, contact_masks.findable_by_name(principal))
    if not wanted.digits:
        return false()
    by_phone = Contact.id.in_(select(ContactPhone.contact_id).where(_phone(wanted)))
    if wanted.whole_phone:
        return by_phone
    return and_(by_phone, contact_masks.findable_by_tail(principal))


def _phone(wanted: Wanted) -> ColumnElement[bool]:
    if wanted.whole_phone:
        return ContactPhone.key == phones.match_key(wanted.digits)
    return tail(wanted.digits)


def _masked(principal: Principal) -> bool:
    return principal.can(Grant.ONLY_STAFF_CONTACTS) and not principal.is_admin


def _known(principal: Principal, wanted: Wanted) -> bool | None:
    """«Найдено» or «не найдено» for who sees stars and types a whole number (domain §10)."""
    if not _masked(principal) or not wanted.whole_phone:
        return None
    key = phones.match_key(wanted.digits)
    return bool(db.session.scalar(select(exists().where(ContactPhone.key == key))))


def _by_words(kind: str, column: Any, typed: Sequence[str]) -> ColumnElement[bool]:
    """Rows each of whose typed words begins a word of the indexed text."""
    return and_(*(column.in_(_prefix(kind, word)) for word in typed))


def _prefix(kind: str, word: str) -> Select[Any]:
    return select(SearchToken.object_id).where(
        SearchToken.kind == kind, SearchToken.token >= word, SearchToken.token < word + _END
    )
