"""Appeals as lists: unprocessed deals by age, all appeals, spam."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import joinedload, lazyload

from crm.models import Action, Appeal, Channel, Contact, Deal, Stage, StageType, db
from crm.reports import contact_masks, keyset
from crm.reports.company import company
from crm.security import masking, visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

PAGE = 50
# From this part of the limit on an unprocessed deal is coloured as a warning.
WARN_AT = 0.5
NOBODY = -1
_NEWEST = (Appeal.received_at.desc(), Appeal.id.desc())


@dataclass(frozen=True, slots=True)
class AppealFilter:
    """What a list is narrowed to; ``responsible_id`` -1 means nobody's."""

    department_id: int | None = None
    responsible_id: int | None = None
    source_id: int | None = None
    channel: str = ""


@dataclass(frozen=True, slots=True)
class WaitingDeal:
    """An unprocessed deal with the appeal that made it."""

    deal: Deal
    appeal: Appeal | None
    client: str
    phone: str
    phone_id: int | None
    waited: dt.timedelta
    tone: str
    may_take: bool
    may_edit: bool


@dataclass(frozen=True, slots=True)
class AppealRow:
    """An appeal as this person may see it."""

    appeal: Appeal
    client: str
    phone: str
    phone_id: int | None
    deal_shown: bool
    may_edit: bool


# --- unprocessed deals ----------------------------------------------------------------------------


def waiting(
    principal: Principal, wanted: AppealFilter, place: keyset.Place | None
) -> tuple[list[WaitingDeal], keyset.Place | None]:
    """Unprocessed deals, the longest waiting first, and where the next page begins (4 queries)."""
    query: Any = select(
        Deal,
        visibility.may_take_condition(principal).label("may_take"),
        visibility.condition(principal, Deal, Action.EDIT).label("may_edit"),
    )
    query = visibility.visible(query, principal, Deal).where(
        ~Deal.is_saved, Deal.stage_id.in_(_open_stages()), *_deal_conditions(wanted)
    )
    if place:
        query = query.where(keyset.before(Deal.created_at, Deal.id, place))
    query = query.options(
        joinedload(Deal.contact).options(lazyload(Contact.emails)),
        joinedload(Deal.source),
        joinedload(Deal.stage),
        joinedload(Deal.responsible),
        joinedload(Deal.department),
    )
    found = db.session.execute(query.order_by(Deal.created_at, Deal.id).limit(PAGE + 1)).all()
    first = _first_appeals([row[0].id for row in found[:PAGE]])
    rows = [_waiting(principal, row, first.get(row[0].id)) for row in found[:PAGE]]
    if len(found) <= PAGE:
        return rows, None
    return rows, keyset.Place(rows[-1].deal.created_at, rows[-1].deal.id)


def _open_stages() -> Select[Any]:
    return select(Stage.id).where(Stage.type == StageType.IN_WORK)


def _deal_conditions(wanted: AppealFilter) -> list[ColumnElement[bool]]:
    return _conditions(
        wanted, Deal.department_id, Deal.responsible_id, Deal.source_id, Deal.channel
    )


def _first_appeals(deal_ids: Collection[int]) -> dict[int, Appeal]:
    """The first appeal of each deal (1 query)."""
    if not deal_ids:
        return {}
    first = (
        select(func.min(Appeal.id))
        .where(Appeal.deal_id.in_(deal_ids), ~Appeal.is_spam)
        .group_by(Appeal.deal_id)
    )
    query = select(Appeal).where(Appeal.id.in_(first)).options(joinedload(Appeal.call))
    return {row.deal_id: row for row in db.session.scalars(query) if row.deal_id is not None}


def _waiting(principal: Principal, row: Any, appeal: Appeal | None) -> WaitingDeal:
    deal, may_take, may_edit = row
    client, phone = _client(principal, deal.contact, deal.responsible_id, appeal)
    since = deal.first_appeal_at or deal.created_at
    waited = max(utc_now() - since, dt.timedelta())
    return WaitingDeal(
        deal=deal,
        appeal=appeal,
        client=client,
        phone=phone,
        phone_id=_phone_id(deal.contact),
        waited=waited,
        tone=tone(waited, deal.channel),
        may_take=bool(may_take) and deal.responsible_id != principal.id,
        may_edit=bool(may_edit),
    )


def tone(waited: dt.timedelta, channel: str) -> str:
    """``ok``, ``warn`` or ``bad`` after the company's limit for requests or answered calls."""
    agency = company()
    by_call = channel == Channel.CALL
    limit = agency.call_limit_minutes if by_call else agency.request_limit_minutes
    part = waited / dt.timedelta(minutes=max(limit or 1, 1))
    if part >= 1:
        return "bad"
    return "warn" if part >= WARN_AT else "ok"


# --- appeals --------------------------------------------------------------------------------------


def page(
    principal: Principal, wanted: AppealFilter, *, spam: bool, place: keyset.Place | None
) -> tuple[list[AppealRow], keyset.Place | None]:
    """Appeals, the newest first, and where the next page begins (3 queries)."""
    query = visibility.visible(select(Appeal.id), principal, Appeal).where(
        Appeal.is_spam if spam else ~Appeal.is_spam, *_appeal_conditions(wanted)
    )
    if place:
        query = query.where(keyset.after(Appeal.received_at, Appeal.id, place))
    ids = list(db.session.scalars(query.order_by(*_NEWEST).limit(PAGE + 1)))
    rows = _by_ids(principal, ids[:PAGE])
    if len(ids) <= PAGE:
        return rows, None
    return rows, keyset.Place(rows[-1].appeal.received_at, rows[-1].appeal.id)


def _by_ids(principal: Principal, ids: list[int]) -> list[AppealRow]:
    """Whole rows of a page: joined for these alone, not for all that were sorted."""
    if not ids:
        return []
    query = _rows(principal).where(Appeal.id.in_(ids)).order_by(*_NEWEST)
    return [_row(principal, row) for row in db.session.execute(query)]


def of_contact(principal: Principal, contact_id: int, limit: int = 20) -> list[AppealRow]:
    """The contact's latest appeals that the person may see."""
    query = visibility.visible(select(Appeal.id), principal, Appeal)
    query = query.where(Appeal.contact_id == contact_id).order_by(*_NEWEST).limit(limit)
    return _by_ids(principal, list(db.session.scalars(query)))


def _rows(principal: Principal) -> Any:
    shown = and_(Deal.id.is_not(None), visibility.condition(principal, Deal))
    edit = visibility.condition(principal, Appeal, Action.EDIT)
    return (
        select(Appeal, shown.label("deal_shown"), edit.label("may_edit"))
        .outerjoin(Deal, Deal.id == Appeal.deal_id)
        .options(
            joinedload(Appeal.contact).options(lazyload(Contact.emails)),
            joinedload(Appeal.source),
            joinedload(Appeal.responsible),
            joinedload(Appeal.department),
            joinedload(Appeal.call),
        )
    )


def _row(principal: Principal, row: Any) -> AppealRow:
    appeal, deal_shown, may_edit = row
    client, phone = _client(principal, appeal.contact, appeal.responsible_id, appeal)
    phone_id = _phone_id(appeal.contact)
    return AppealRow(appeal, client, phone, phone_id, bool(deal_shown), bool(may_edit))


def _appeal_conditions(wanted: AppealFilter) -> list[ColumnElement[bool]]:
    return _conditions(
        wanted, Appeal.department_id, Appeal.responsible_id, Appeal.source_id, Appeal.channel
    )


# --- both -----------------------------------------------------------------------------------------


def _conditions(
    wanted: AppealFilter, department: Any, responsible: Any, source: Any, channel: Any
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.department_id:
        found.append(department == wanted.department_id)
    if wanted.responsible_id == NOBODY:
        found.append(responsible.is_(None))
    elif wanted.responsible_id:
        found.append(responsible == wanted.responsible_id)
    if wanted.source_id:
        found.append(source == wanted.source_id)
    if wanted.channel:
        found.append(channel == wanted.channel)
    return found


def _phone_id(contact: Contact | None) -> int | None:
    """What the shown number of a contact is called by."""
    return next((phone.id for phone in contact.phones), None) if contact else None


def _client(
    principal: Principal, contact: Contact | None, responsible_id: int | None, appeal: Appeal | None
) -> tuple[str, str]:
    """Shown name and phone of who came: of the contact, else as the appeal names them."""
    hidden = contact_masks.hidden(
        principal,
        is_owner=bool(contact and contact.is_owner),
        deal_is_own=responsible_id == principal.id,
    )
    name = (contact.name if contact else "") or (appeal.name if appeal else "") or ""
    name = masking.shown_name(name, hidden and bool(contact and contact.is_owner))
    number = next((phone.number for phone in contact.phones), None) if contact else None
    number = number or (appeal.phone if appeal else None)
    return name, masking.shown_phone(number, hidden)
