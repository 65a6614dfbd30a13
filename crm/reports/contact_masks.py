"""Whose phones are hidden from a person: for many rows without a query each, in searches, for one.

What is hidden may neither be found out piece by piece nor be opened by a row of one's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, false, or_, select, true
from sqlalchemy.orm import aliased

from crm.models import Contact, Deal, Listing, db
from crm.reports.company import company
from crm.security import masking
from crm.security.grants import Grant
from crm.security.principal import Principal

# Made once: an alias of a wide table costs more than the query that it is in.
_DEAL = aliased(Deal)
_LISTING = aliased(Listing)


def own_deal(principal: Principal) -> ColumnElement[bool]:
    """SQL: the contact of the row has a deal of this person."""
    return exists().where(
        _DEAL.contact_id == Contact.id,
        _DEAL.responsible_id == principal.id,
        _DEAL.deleted_at.is_(None),
    )


def own_listing(principal: Principal) -> ColumnElement[bool]:
    """SQL: the contact of the row owns a listing this person is responsible for."""
    return exists().where(_LISTING.owner_id == Contact.id, _LISTING.responsible_id == principal.id)


def hidden(
    principal: Principal, *, is_owner: bool, deal_is_own: bool, listing_is_own: bool = False
) -> bool:
    """Whether this person sees stars instead of the contact's numbers and addresses."""
    # A person who sees only colleagues' contacts is shown his own deals' at most, not listings'.
    only_deals = principal.can(Grant.ONLY_STAFF_CONTACTS)
    return masking.hides_contacts(
        principal,
        is_owner=is_owner,
        own=deal_is_own or (listing_is_own and not only_deals),
        own_shown=company().show_contacts_in_own_deals,
    )


# --- searches -------------------------------------------------------------------------------------


def findable_by_tail(principal: Principal) -> ColumnElement[bool]:
    """SQL: contacts found by the last digits: digit by digit a hidden number would be told."""
    if principal.is_admin:
        return true()
    if principal.can(Grant.ONLY_STAFF_CONTACTS):
        return false()
    return ~Contact.is_owner if principal.can(Grant.HIDE_OWNER_CONTACTS) else true()


def findable_by_name(principal: Principal) -> ColumnElement[bool]:
    """SQL: contacts whose whole name is shown: letter by letter a hidden one would be told."""
    if principal.is_admin:
        return true()
    own = own_deal(principal)
    if principal.can(Grant.ONLY_STAFF_CONTACTS):
        return or_(~Contact.is_owner, own if company().show_contacts_in_own_deals else false())
    if principal.can(Grant.HIDE_OWNER_CONTACTS):
        return or_(~Contact.is_owner, own, own_listing(principal))
    return true()


# --- one contact ----------------------------------------------------------------------------------


def hidden_from(principal: Principal, contact: Contact) -> bool:
    """Whether numbers and addresses of a stored contact are hidden from the person (1 query)."""
    return contact.id in _hidden_ids(principal, [contact])


def shown_name(principal: Principal, contact: Contact) -> str:
    """The contact's name as the person may see it, whatever row he comes from (1 query)."""
    return shown_names(principal, [contact])[contact.id]


def shown_names(principal: Principal, contacts: Sequence[Contact]) -> dict[int, str]:
    """The same of many contacts by their ids (1 query)."""
    hidden_ids = _hidden_ids(principal, [row for row in contacts if row.is_owner])
    return {row.id: masking.shown_name(row.name, row.id in hidden_ids) for row in contacts}


def opened_by_deal(principal: Principal, contact: Contact) -> bool:
    """Whether a new deal of the person's own would show him what is hidden from him now."""
    own = hidden(principal, is_owner=contact.is_owner, deal_is_own=True)
    return not own and hidden_from(principal, contact)


def opened_by_listing(principal: Principal, contact: Contact) -> bool:
    """Whether a listing of the person's own would show him what is hidden from him now."""
    own = hidden(principal, is_owner=True, deal_is_own=False, listing_is_own=True)
    return not own and hidden_from(principal, contact)


def _hidden_ids(principal: Principal, contacts: Sequence[Contact]) -> set[int]:
    strange = {
        row.id: row
        for row in contacts
        if hidden(principal, is_owner=row.is_owner, deal_is_own=False)
    }
    if not strange:
        return set()
    query = select(Contact.id, own_deal(principal), own_listing(principal))
    return {
        pk
        for pk, of_deal, of_listing in db.session.execute(query.where(Contact.id.in_(strange)))
        if hidden(
            principal,
            is_owner=strange[pk].is_owner,
            deal_is_own=bool(of_deal),
            listing_is_own=bool(of_listing),
        )
    }
