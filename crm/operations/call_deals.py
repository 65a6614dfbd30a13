"""A deal made by hand from a call that has none: its client, and tying the two together."""

from __future__ import annotations

from flask_babel import gettext as _
from sqlalchemy import exists, select

from crm.integrations.telephony.base import Direction
from crm.models import (
    Appeal,
    Call,
    Channel,
    Contact,
    Deal,
    EventKind,
    TelephonyConnection,
    TimelineEvent,
    db,
)
from crm.operations import appeals, audit, contacts, rows, timeline
from crm.operations.attribution import Evidence
from crm.operations.errors import Conflict, NotFound
from crm.security.call_rights import met_condition
from crm.security.principal import Principal
from crm.values import phones


def free_call(call_id: int, by: Principal) -> Call:
    """The locked call, which the person may see or was rung by; Conflict when it has a deal."""
    query = select(Call.id).where(Call.id == call_id, met_condition(by))
    call = rows.locked(Call, call_id) if db.session.scalar(query) is not None else None
    if call is None:
        raise NotFound(_("Такого звонка нет, или он вам недоступен."))
    if call.deal_id is not None:
        raise Conflict(_("У этого звонка уже есть сделка."))
    return call


def client_of(call: Call, name: str = "", email: str = "") -> Contact | None:
    """Who called, made if need be; None when the operator has hidden the number."""
    if call.contact_id is not None:
        known: Contact | None = db.session.get(Contact, call.contact_id)
        return known
    phone = phones.parse(call.client_number) if call.client_key else None
    if phone is None:
        return None
    return contacts.by_hand(phone, name, email)


def tie(call: Call, deal: Deal, by: Principal) -> None:
    """The call, its contact and its appeal belong to the new deal from now on."""
    call.deal_id = deal.id
    call.contact_id = call.contact_id or deal.contact_id
    rows.touch(deal, first_appeal_at=call.started_at)
    appeal = db.session.scalars(select(Appeal).where(Appeal.call_id == call.id)).one_or_none()
    if appeal is None and call.direction == Direction.IN.value and call.client_key:
        # With its source and the reason for it, as of a call that made its deal itself.
        appeals.register(_incoming(call, deal))
    else:
        if appeal is not None:
            appeal.deal_id, appeal.contact_id = deal.id, deal.contact_id
        _note(call, deal)
    audit.record("tie_to_deal", call, by, after={"deal_id": deal.id})


def _incoming(call: Call, deal: Deal) -> appeals.Incoming:
    connection: TelephonyConnection = db.session.get(TelephonyConnection, call.connection_id)
    phone = phones.parse(call.client_number)
    return appeals.Incoming(
        channel=Channel.CALL,
        received_at=call.started_at,
        call=call,
        phones=(phone,) if phone else (),
        pipeline_id=deal.pipeline_id,
        department_id=deal.department_id,
        listing_id=deal.listing_id,
        evidence=Evidence(
            called_number=call.line_number,
            channel=Channel.CALL,
            department_id=connection.department_id,
            default_source_id=connection.default_source_id,
        ),
    )


def _note(call: Call, deal: Deal) -> None:
    told = exists().where(TimelineEvent.deal_id == deal.id, TimelineEvent.call_id == call.id)
    if not db.session.scalar(select(told)):
        timeline.note(
            EventKind.CALL, deal=deal, contact=deal.contact, call=call, at=call.started_at
        )
