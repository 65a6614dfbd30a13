"""Who is already known behind a number: the warning before a second deal (domain §13)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from crm.models import Contact, ContactPhone, Deal, Stage, StageType, db
from crm.reports import contact_masks
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones


@dataclass(frozen=True, slots=True)
class KnownClient:
    """An open deal or a contact behind the number, as much of it as the person may know."""

    contact_id: int | None
    name: str
    deal_id: int | None
    stage: str
    holder: str
    department: str


def known_clients(principal: Principal, number: str) -> list[KnownClient]:
    """Clients with this very number: own ones by name, others' only by who holds them."""
    e164 = phones.e164(number)
    if e164 is None:
        return []
    key = phones.match_key(e164)
    ids = list(
        db.session.scalars(select(ContactPhone.contact_id).where(ContactPhone.key == key).limit(10))
    )
    if not ids:
        return []
    deals = _open_deals(ids)
    seen = set(
        db.session.scalars(
            visibility.visible(
                select(Deal.id).where(Deal.id.in_([d.id for d in deals])), principal, Deal
            )
        )
    )
    known = [_of_deal(principal, deal, deal.id in seen) for deal in deals]
    return known or _contacts(principal, ids)


def _open_deals(contact_ids: list[int]) -> list[Deal]:
    query = (
        select(Deal)
        .join(Stage, Stage.id == Deal.stage_id)
        .where(
            Deal.contact_id.in_(contact_ids),
            Deal.deleted_at.is_(None),
            Stage.type == StageType.IN_WORK,
        )
        .options(
            joinedload(Deal.contact),
            joinedload(Deal.responsible),
            joinedload(Deal.department),
            joinedload(Deal.stage),
        )
        .order_by(Deal.id.desc())
        .limit(5)
    )
    return list(db.session.scalars(query))


def _of_deal(principal: Principal, deal: Deal, visible: bool) -> KnownClient:
    return KnownClient(
        contact_id=deal.contact_id if visible else None,
        name=_name(principal, deal.contact) if visible and deal.contact else "",
        deal_id=deal.id if visible else None,
        stage=deal.stage.name if visible else "",
        holder=deal.responsible.full_name if deal.responsible else "",
        department=deal.department.name if deal.department else "",
    )


def _contacts(principal: Principal, ids: list[int]) -> list[KnownClient]:
    query = select(Contact).where(Contact.id.in_(ids)).limit(3)
    rows = db.session.scalars(visibility.visible(query, principal, Contact))
    return [KnownClient(row.id, _name(principal, row), None, "", "", "") for row in rows]


def _name(principal: Principal, contact: Contact) -> str:
    return contact_masks.shown_name(principal, contact) or str(contact)
