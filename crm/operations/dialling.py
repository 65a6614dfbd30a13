"""Click-to-call: the operator rings the employee, then the client."""

from __future__ import annotations

import datetime as dt
import secrets

from flask_babel import gettext as _
from sqlalchemy import and_, select

from crm.integrations.telephony.base import Capability, ClickToCall, PlacedCall
from crm.integrations.telephony.operator_errors import OperatorError
from crm.models import (
    Call,
    CallState,
    Contact,
    ContactPhone,
    Deal,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import (
    appeals,
    audit,
    bus,
    call_identity,
    connections,
    contacts,
    locks,
)
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.security import visibility
from crm.security.call_rights import met_condition
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import utc_now

# Lines of older calls may have been given up.
_RECENT = dt.timedelta(days=90)


def click_to_call(
    by: Principal,
    *,
    contact_phone_id: int | None = None,
    number: str | None = None,
    call_id: int | None = None,
    deal_id: int | None = None,
) -> Call:
    """Ring the person's telephone and then the client's; the call waits for its events.

    One of ``contact_phone_id``, ``number`` and ``call_id`` (the client of that call, whose number
    need not be shown); with ``deal_id`` alone its client. Raises Forbidden (permission 15),
    NotFound for what is out of sight, ValidationErrors for the number or a missing internal
    number, Conflict with the operator's reason.
    """
    if by.can(Grant.FORBID_CLICK_TO_CALL):
        raise Forbidden(_("Звонки из CRM для вас отключены."))
    deal = _deal(deal_id, by)
    if call_id is not None:
        client, contact, deal = _client_of_call(call_id, deal, by)
    elif deal is not None and contact_phone_id is None and not number:
        client, contact = _client_of_deal(deal)
    else:
        client, contact = _client(contact_phone_id, number, by)
    extension = _extension_of(by)
    connection = extension.connection
    order = ClickToCall(
        extension=extension.number or extension.key,
        employee_key=extension.key,
        number=phones.digits(client) or client,
        request_id=f"kv-{secrets.token_hex(12)}",
        line_number=_line(connection, client, deal),
    )
    ordered_at = utc_now()
    try:
        placed = connections.build(connection).place_call(order)
    except OperatorError as error:
        connections.note_error(connection.id, error.message)
        raise Conflict(error.message) from error
    return _remember(placed, ordered_at, client, connection, by, deal, contact)


def _deal(deal_id: int | None, by: Principal) -> Deal | None:
    if deal_id is None:
        return None
    deal = visibility.get_visible(by, Deal, deal_id)
    if deal is None:
        raise NotFound(_("Сделка не найдена."))
    return deal


def _client(
    contact_phone_id: int | None, number: str | None, by: Principal
) -> tuple[str, Contact | None]:
    if contact_phone_id is not None:
        row: ContactPhone | None = db.session.get(ContactPhone, contact_phone_id)
        contact = visibility.get_visible(by, Contact, row.contact_id) if row is not None else None
        if row is None or contact is None:
            raise NotFound(_("Такого номера нет, или он вам недоступен."))
        return row.number, contact
    typed = phones.e164(number)
    if typed is None:
        raise ValidationErrors.one("number", _("Номер не распознан. Пример: +7 912 345-67-89."))
    return typed, contacts.find([typed])


def _client_of_call(
    call_id: int, deal: Deal | None, by: Principal
) -> tuple[str, Contact | None, Deal | None]:
    """Whom the call was with; it must be seen, or have rung the person's own telephone."""
    query = select(Call).where(Call.id == call_id, met_condition(by))
    call: Call | None = db.session.scalars(query).one_or_none()
    if call is None:
        raise NotFound(_("Такого звонка нет, или он вам недоступен."))
    if not call.client_number or phones.is_internal(call.client_number):
        raise ValidationErrors.one("call_id", _("Номер клиента скрыт оператором."))
    if deal is None and call.deal_id is not None:
        deal = visibility.get_visible(by, Deal, call.deal_id)
    return call.client_number, call.contact, deal


def _client_of_deal(deal: Deal) -> tuple[str, Contact]:
    contact = deal.contact
    if contact is None or not contact.phones:
        raise ValidationErrors.one("deal_id", _("В сделке не указан телефон клиента."))
    return contact.phones[0].number, contact


def _line(connection: TelephonyConnection, client: str, deal: Deal | None) -> str | None:
    """The line that the client is to see: the one he knows, else that of the deal's source.

    Without either, any line of the connection, for operators that demand one; where the
    settings name it, the operator's module takes it from there.
    """
    calls = select(Call.line_number).where(
        Call.connection_id == connection.id, Call.line_number.is_not(None)
    )
    newest = calls.order_by(Call.started_at.desc()).limit(1)
    his = newest.where(Call.client_key == phones.match_key(client), Call.direction == "in")
    known: str | None = db.session.scalar(his)
    if known or (connection.credentials or {}).get("line_number"):
        return known
    of_source = phones.digits(deal.source.phone) if deal and deal.source else None
    recent = newest.where(Call.started_at > utc_now() - _RECENT)
    return of_source or db.session.scalar(recent)


def _extension_of(by: Principal) -> TelephonyExtension:
    """The person's internal number at an operator that can dial."""
    query = (
        select(TelephonyExtension)
        .join(TelephonyConnection)
        .where(TelephonyExtension.employee_id == by.id, TelephonyConnection.active)
        .order_by(TelephonyExtension.id)
    )
    found: list[TelephonyExtension] = list(db.session.scalars(query))
    if not found:
        raise ValidationErrors.one("", _("Вам не назначен внутренний номер телефонии."))
    for extension in found:
        if Capability.CLICK_TO_CALL in connections.build(extension.connection).capabilities:
            return extension
    raise ValidationErrors.one("", _("Ваш оператор телефонии не умеет звонить из CRM."))


@operation
def _remember(
    placed: PlacedCall,
    ordered_at: dt.datetime,
    client: str,
    connection: TelephonyConnection,
    by: Principal,
    deal: Deal | None,
    contact: Contact | None,
) -> Call:
    """The call before its first event; an event that was quicker has made it already."""
    call = _quicker(placed, ordered_at, client, connection, by)
    if call is None:
        pk = placed.provider_call_id or f"{call_identity.REQUEST_PREFIX}{placed.request_id}"
        call = Call(connection_id=connection.id, provider_call_id=pk, state=CallState.NEW)
        call.direction, call.started_at = "out", utc_now()
        call.final_fields = []
        db.session.add(call)
    if deal is None and contact is not None:
        deal = appeals.open_deal(contact.id)
    call.client_number = call.client_number or phones.digits(client)
    call.client_key = phones.match_key(call.client_number) or None
    call.crm_request_id = placed.request_id
    call.employee_id = by.id
    call.contact_id = contact.id if contact else call.contact_id
    call.deal_id = deal.id if deal else call.deal_id
    db.session.flush()
    audit.record("click_to_call", call, by, after={"deal_id": call.deal_id})
    bus.emit("call.dialling", [by.id], call_id=call.id)
    return call


def _quicker(
    placed: PlacedCall,
    ordered_at: dt.datetime,
    client: str,
    connection: TelephonyConnection,
    by: Principal,
) -> Call | None:
    """The call that an event has made before the operator's answer to our order was here.

    An operator that names neither its call nor our order leaves us whatever this person has begun
    to dial there since ``ordered_at``.
    """
    key = phones.match_key(client)
    # The event may be taken in at this very moment.
    locks.hold("call", [f"client:{key}"] if key else [])
    ours = Call.crm_request_id == placed.request_id
    if placed.provider_call_id is not None:
        ours |= Call.provider_call_id == placed.provider_call_id
    else:
        ours |= and_(
            Call.direction == "out",
            Call.client_key == key,
            Call.employee_id == by.id,
            Call.crm_request_id.is_(None),
            Call.created_at >= ordered_at,
        )
    query = select(Call).where(Call.connection_id == connection.id, ours)
    found: Call | None = db.session.scalars(query.order_by(Call.id).limit(1)).first()
    return found
