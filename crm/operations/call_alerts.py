"""Which open browsers are told that a call rings, was answered, is over."""

from __future__ import annotations

import datetime as dt
from typing import TypeGuard

from sqlalchemy import select

from crm.integrations.telephony.base import CallEvent, CallKind, Direction
from crm.models import (
    AssignRule,
    Call,
    CallLeg,
    CallState,
    Deal,
    Employee,
    TelephonyConnection,
    db,
)
from crm.operations import bus, call_state, deals
from crm.values.clock import utc_now

# An older ringing is history: nobody can answer it any more.
RINGING_AGE = dt.timedelta(seconds=60)


def tell(call: Call, event: CallEvent, connection: TelephonyConnection, before: str) -> None:
    """Tell the browsers what ``event`` has changed; ``before`` is the state until then."""
    if call.direction == Direction.OUT.value:
        _dialling(call, event, before)
    elif event.kind is CallKind.RINGING:
        _ringing(call, event, connection)
    elif event.kind is CallKind.LEG_ENDED and not call_state.is_over(call):
        _leg_ended(call, event)
    if call.state == before:
        return
    if call.state == CallState.ANSWERED:
        bus.emit("call.answered", _watchers(call), call_id=call.id, employee_id=call.employee_id)
    elif call_state.is_over(call):
        bus.emit("call.ended", _watchers(call), call_id=call.id)
        _refresh_card(call)


def _ringing(call: Call, event: CallEvent, connection: TelephonyConnection) -> None:
    """Group call: each employee's telephone rings by its own event, each is told once."""
    if call.state != CallState.RINGING or call.direction != Direction.IN.value:
        return
    if not _is_fresh(event):
        return
    owner = _owner(call, event)
    targets = [owner] if owner is not None else _on_duty(call, connection)
    bus.emit("call.ringing", targets, call_id=call.id)


def _dialling(call: Call, event: CallEvent, before: str) -> None:
    """Who dials sees his own call: from the first sign of it, or from the answer at once."""
    begun = call.state == CallState.RINGING and event.kind is CallKind.RINGING
    taken = call.state == CallState.ANSWERED and before == CallState.NEW
    if call.employee_id is not None and (begun or taken) and _is_fresh(event):
        bus.emit("call.dialling", [call.employee_id], call_id=call.id)


def _is_fresh(event: CallEvent) -> bool:
    return utc_now() - event.occurred_at <= RINGING_AGE


def _leg_ended(call: Call, event: CallEvent) -> None:
    """One telephone stopped ringing: only its owner's pop-up closes."""
    owner = _owner(call, event)
    if owner is not None and owner != call.employee_id:
        bus.emit("call.ended", [owner], call_id=call.id)


def _owner(call: Call, event: CallEvent) -> int | None:
    name = call_state.leg_id(event)
    owner: int | None = db.session.scalar(
        select(CallLeg.employee_id).where(CallLeg.call_id == call.id, CallLeg.leg_id == name)
    )
    return owner


def _on_duty(call: Call, connection: TelephonyConnection) -> list[int]:
    """The responsible manager, else whom the connection gives to, else who is on shift there."""
    deal = db.session.get(Deal, call.deal_id) if call.deal_id is not None else None
    if deal is not None and deal.responsible_id is not None:
        return [deal.responsible_id]
    if connection.assign_rule == AssignRule.PERSON and _works(connection.assign_to_id):
        return [connection.assign_to_id]
    department_id = deal.department_id if deal is not None else connection.department_id
    query = select(Employee.id).where(Employee.active, Employee.on_shift.is_(True))
    if department_id is not None:
        query = query.where(Employee.department_id == department_id)
    return list(db.session.scalars(query))


def _works(employee_id: int | None) -> TypeGuard[int]:
    query = select(Employee.id).where(Employee.id == employee_id, Employee.active)
    return employee_id is not None and db.session.scalar(query) is not None


def _watchers(call: Call) -> list[int] | None:
    """Everybody whose pop-up may be open: of a call that ours have begun, who makes it alone.

    An incoming one may have rung at all who were on duty before it came to one telephone, and
    the answer gives the deal to somebody: who was told then cannot be found out now, so everyone
    is. One row does it, and it holds ids only.
    """
    if call.direction == Direction.IN.value:
        return None
    return [call.employee_id] if call.employee_id is not None else []


def _refresh_card(call: Call) -> None:
    deal = db.session.get(Deal, call.deal_id) if call.deal_id is not None else None
    if deal is not None:
        deals.tell(deal)
