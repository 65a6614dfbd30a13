"""Whether the phones of a row's contact are hidden, decided for many rows without a query each."""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists
from sqlalchemy.orm import aliased

from crm.models import Contact, Deal, Listing
from crm.reports.company import company
from crm.security import masking
from crm.security.grants import Grant
from crm.security.principal import Principal


def own_deal(principal: Principal) -> ColumnElement[bool]:
    """SQL: the contact of the row has a deal of this person."""
    deal = aliased(Deal)
    return exists().where(
        deal.contact_id == Contact.id,
        deal.responsible_id == principal.id,
        deal.deleted_at.is_(None),
    )


def own_listing(principal: Principal) -> ColumnElement[bool]:
    """SQL: the contact of the row owns a listing this person is responsible for."""
    listing = aliased(Listing)
    return exists().where(listing.owner_id == Contact.id, listing.responsible_id == principal.id)


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
