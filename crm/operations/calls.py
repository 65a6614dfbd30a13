"""Calls: every event of an operator, once and in any order, into one call and its deal."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import Executable, bindparam, exists, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from crm.integrations.telephony.base import CallEvent, CallKind, Direction, KnownCaller
from crm.models import (
    Appeal,
    Call,
    CallLeg,
    CallState,
    Channel,
    Contact,
    EventKind,
    SeenCallEvent,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import (
    appeals,
    call_alerts,
    call_identity,
    call_state,
    connections,
    contacts,
    locks,
    memory,
    missed_calls,
    own_numbers,
    rows,
    sources,
    timeline,
)
from crm.operations.attribution import Evidence
from crm.operations.transaction import operation
from crm.values import phones
from crm.values.clock import utc_now

log = logging.getLogger(__name__)

# Milliseconds that each of the two or three look-ups for a waiting caller may take.
_LOOK_UP_MS = 150
# Asked for every event: making a statement costs more than running it.
_LEGS_OF = select(CallLeg).where(CallLeg.call_id == bindparam("call_id"))
_APPEAL_OF = select(Appeal).where(Appeal.call_id == bindparam("call_id"))
BLACK_LISTED = "номер в чёрном списке"
# What the journal of deliveries says that an event has told.
_HAPPENED = {
    CallKind.RINGING: "звонит",
    CallKind.ANSWERED: "ответили",
    CallKind.LEG_ENDED: "один вызов снят",
    CallKind.ENDED: "закончен",
    CallKind.MISSED: "пропущен",
    CallKind.RECORDING_READY: "запись готова",
}


@dataclass(slots=True)
class _Seen:
    """The call before the event, to tell what is new; ``facts`` decide of its deal."""

    state: str
    employee_id: int | None
    facts: tuple[Any, ...]
    times: missed_calls.Moments | None


def _seen(call: Call) -> _Seen:
    known: dt.datetime | None = call.started_at
    times = missed_calls.Moments.of(call) if known is not None else None
    return _Seen(call.state or CallState.NEW, call.employee_id, _facts(call), times)


@operation
def apply(event: CallEvent, connection: TelephonyConnection, run_id: int | None = None) -> str:
    """Take one event in; returns what became of it, in words. A repeat changes nothing.

    ``run_id``: the look into the history that has brought the event.
    """
    if event.kind is CallKind.UNKNOWN:
        return "неизвестное событие"
    if event.direction is Direction.INTERNAL:
        return "внутренний звонок"
    locks.hold("call", call_identity.lock_keys(event))
    known = call_identity.by_ids(event)
    if not _is_first_time(event, known):
        return "повтор события"
    before = _seen(known[0]) if known else None
    call = call_identity.find_or_new(event, known, run_id)
    if call is None:
        return "звонок не найден"
    before = before or _seen(call)
    _absorb(call, event, connection)
    if not known:
        _mark_seen(event, call)
    if call.client_key and not event.client_number:
        # The event does not name the client, but his other calls are looked at as well.
        locks.hold("call", [f"client:{call.client_key}"])
    wanted = _lead_on(call, connection, before)
    if wanted:
        call_alerts.tell(call, event, connection, before.state)
    return f"звонок № {call.id}: {_HAPPENED[event.kind]}"


def known_caller(connection_id: int, number: str) -> KnownCaller:
    """What the operator may tell the employee while the call waits.

    The operator lets the caller wait for it: an empty answer in time beats a whole one too late.
    """
    try:
        if db.session.get_bind().dialect.name == "postgresql":
            db.session.execute(text(f"SET LOCAL statement_timeout = {_LOOK_UP_MS}"))
        return _known_caller(connection_id, number)
    except SQLAlchemyError as error:
        log.warning("a caller was not looked up: %s", type(error).__name__)
        return KnownCaller()
    finally:
        # Ends the transaction whose statements are limited.
        db.session.rollback()


def _known_caller(connection_id: int, number: str) -> KnownCaller:
    contact = contacts.find([phones.parse(number) or number])
    if contact is None:
        return KnownCaller()
    deal = appeals.open_deal(contact.id)
    if deal is None or deal.responsible_id is None:
        return KnownCaller(name=contact.name or None)
    row = db.session.scalars(
        select(TelephonyExtension).where(
            TelephonyExtension.connection_id == connection_id,
            TelephonyExtension.employee_id == deal.responsible_id,
        )
    ).first()
    return KnownCaller(
        name=contact.name or None,
        responsible_extension=(row.number or row.key) if row else None,
        responsible_key=row.key if row else None,
        deal_id=deal.id,
    )


# --- the call ---------------------------------------------------------------------------------


def _is_first_time(event: CallEvent, known: list[Call]) -> bool:
    """The unique key decides: of two who bring the same event only one goes on."""
    row = {
        "connection_id": event.connection_id,
        "event_id": event.event_id[:128],
        "call_id": known[0].id if known else None,
        "seen_at": utc_now(),
    }
    statement = _insert_unseen(db.session.get_bind().dialect.name)
    return db.session.execute(statement, row).first() is not None


@cache
def _insert_unseen(dialect: str) -> Executable:
    """One statement for all events: making it costs more than running it."""
    table = SeenCallEvent.__table__
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return make(table).on_conflict_do_nothing().returning(table.c.event_id)


def _mark_seen(event: CallEvent, call: Call) -> None:
    """The call had no row yet when its event was put down."""
    db.session.execute(
        update(SeenCallEvent)
        .where(
            SeenCallEvent.connection_id == event.connection_id,
            SeenCallEvent.event_id == event.event_id[:128],
        )
        .values(call_id=call.id)
    )


def _absorb(call: Call, event: CallEvent, connection: TelephonyConnection) -> None:
    call.state = call.state or CallState.NEW
    # An event of one employee's part alone keeps the call alive, too.
    call.updated_at = utc_now()
    call_state.absorb(call, event)
    call.client_key = phones.match_key(call.client_number)[:32] or None
    if event.recording_ref or event.recording_url:
        delay = connections.recording_delay(connection)
        call_state.expect_recording(call, event, delay)
    legs = _with_leg(call, _legs(call), event)
    talked_by = call_state.employee_of(call, legs)
    # Who pressed the button is known before the operator names him.
    if talked_by is not None or not call.crm_request_id:
        call.employee_id = talked_by
    db.session.flush()


def _legs(call: Call) -> list[CallLeg]:
    pk: int | None = call.id
    if pk is None:
        db.session.flush()
        return []
    with db.session.no_autoflush:
        return list(db.session.scalars(_LEGS_OF, {"call_id": pk}))


def _with_leg(call: Call, legs: list[CallLeg], event: CallEvent) -> list[CallLeg]:
    name = call_state.leg_id(event)
    if name is None:
        return legs
    leg = next((leg for leg in legs if leg.leg_id == name), None)
    if leg is None:
        leg = CallLeg(call_id=call.id, leg_id=name, state=CallState.RINGING)
        db.session.add(leg)
        legs = [*legs, leg]
    call_state.absorb_leg(leg, event, call_identity.employee_id(event))
    return legs


# --- its deal ---------------------------------------------------------------------------------


def _lead_on(call: Call, connection: TelephonyConnection, before: _Seen) -> bool:
    """Lead the call to its contact and deal; False when nobody need be told of it."""
    if not call.client_key or phones.is_internal(call.client_number):
        return False
    if call.direction == Direction.OUT.value:
        _attach_outgoing(call)
        if before.facts != _facts(call):
            missed_calls.follow(call, connection, before.times)
        return True
    if call.direction != Direction.IN.value:
        return False
    if call.contact_id is not None and before.facts == _facts(call):
        return True
    appeal = _appeal_of(call)
    if appeal is not None:
        _catch_up(call, appeal)
    elif _is_no_client(call.client_key, connection):
        return False
    elif not connection.makes_deals and not _is_worked_on(call):
        _keep_without_deal(call, connection)
        missed_calls.follow(call, connection, before.times)
        return True
    else:
        appeal = _register(call, connection)
    _settle(call, appeal, before)
    if not appeal.is_spam:
        missed_calls.follow(call, connection, before.times)
    return not appeal.is_spam


def _facts(call: Call) -> tuple[Any, ...]:
    """What the call's deal, its owner and the calls to be called back follow from."""
    return (
        call.state,
        call.direction,
        call.client_key,
        call.line_number,
        call.employee_id,
        call.started_at,
        call.answered_at,
        call_state.was_answered(call),
    )


def _settle(call: Call, appeal: Appeal, before: _Seen) -> None:
    is_news = call.deal_id is None or call.employee_id != before.employee_id
    if call.employee_id is not None and is_news and not appeal.is_spam:
        appeals.answered(appeal, call.employee_id, instead_of=before.employee_id)
    call.contact_id, call.deal_id = appeal.contact_id, appeal.deal_id
    call.source_id = appeal.source_id


def _appeal_of(call: Call) -> Appeal | None:
    found: Appeal | None = db.session.scalars(_APPEAL_OF, {"call_id": call.id}).one_or_none()
    return found


def _is_no_client(key: str, connection: TelephonyConnection) -> bool:
    return key in connections.ignored_keys(connection) or key in memory.kept(
        "own_numbers", own_numbers.known
    )


def _is_worked_on(call: Call) -> bool:
    """Whether the client's deal is in work: a call always belongs to it."""
    contact = contacts.find([phones.parse(call.client_number) or ""])
    return contact is not None and appeals.open_deal(contact.id) is not None


def _keep_without_deal(call: Call, connection: TelephonyConnection) -> None:
    """The connection makes no deals: the call alone is kept, with its source."""
    contact = contacts.find([phones.parse(call.client_number) or ""])
    call.contact_id = contact.id if contact else None
    call.is_first = contact is None and _is_first_call(call)
    call.source_id = sources.attribute(_evidence(call, connection)).source_id


def _is_first_call(call: Call) -> bool:
    query = exists().where(Call.client_key == call.client_key, Call.id != call.id)
    return not db.session.scalar(select(query))


def _evidence(call: Call, connection: TelephonyConnection) -> Evidence:
    return Evidence(
        called_number=call.line_number,
        channel=Channel.CALL,
        department_id=connection.department_id,
        default_source_id=connection.default_source_id,
    )


def _register(call: Call, connection: TelephonyConnection) -> Appeal:
    phone = phones.parse(call.client_number)
    known = (phone,) if phone else ()
    call.is_first = _is_first_call(call)
    appeal = appeals.register(
        appeals.Incoming(
            channel=Channel.CALL,
            received_at=call.started_at,
            call=call,
            phones=known,
            pipeline_id=connection.pipeline_id,
            department_id=connection.department_id,
            spam_reasons=(BLACK_LISTED,) if appeals.is_black_listed(known) else (),
            evidence=_evidence(call, connection),
        )
    )
    call.is_first = call.is_first and not appeal.is_repeat
    return appeal


def _catch_up(call: Call, appeal: Appeal) -> None:
    """What became known late: the dialled line, the true beginning."""
    if call.line_number:
        appeals.trace_again(appeal, call.line_number)
    if appeal.received_at == call.started_at:
        return
    appeal.received_at = call.started_at
    if appeal.created_deal and appeal.deal is not None:
        rows.touch(appeal.deal, first_appeal_at=call.started_at)


def _attach_outgoing(call: Call) -> None:
    """An outgoing call belongs to the known contact's deal in work; strangers stay unknown."""
    if call.contact_id is None:
        contact = contacts.find([phones.parse(call.client_number) or ""])
        call.contact_id = contact.id if contact else None
    if call.deal_id is None and call.contact_id is not None:
        deal = appeals.open_deal(call.contact_id)
        call.deal_id = deal.id if deal else None
    db.session.flush()
    if call.contact_id is not None and not _is_told(call):
        db.session.refresh(call, ["deal", "contact"])
        contact = cast("Contact", call.contact)
        timeline.note(
            EventKind.CALL, deal=call.deal, contact=contact, call=call, at=call.started_at
        )


def _is_told(call: Call) -> bool:
    from crm.models import TimelineEvent

    if call.deal_id is None:
        mine = TimelineEvent.contact_id == call.contact_id
    else:
        mine = TimelineEvent.deal_id == call.deal_id
    return bool(db.session.scalar(select(exists().where(mine, TimelineEvent.call_id == call.id))))
