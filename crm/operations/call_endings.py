"""Calls whose end nobody has told: a lost webhook must not leave a call ringing for ever."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ColumnElement, and_, exists, or_, select

from crm.integrations.telephony.base import Direction
from crm.models import Call, CallLeg, CallState, TelephonyConnection, db
from crm.operations import bus, call_state, connections, deals, locks, missed_calls, rows
from crm.operations.transaction import operation
from crm.values.clock import utc_now

# All telephones are silent and no other has begun to ring: the caller was let go.
LEGS_OVER = dt.timedelta(seconds=15)
# No queue keeps a caller, and no talk lasts, longer than that without any event.
LONGEST_RINGING = dt.timedelta(minutes=30)
LONGEST_TALK = dt.timedelta(hours=4)
_MOST = 200


def end_abandoned() -> int:
    """End what must be over by now; how many. A later event may still prove an answer."""
    return sum(_end(call_id) for call_id in _abandoned())


def _abandoned() -> list[int]:
    now = utc_now()
    quiet = Call.updated_at < now - LEGS_OVER
    ringing = and_(
        Call.state.in_((CallState.NEW, CallState.RINGING)),
        or_(
            Call.updated_at < now - LONGEST_RINGING,
            and_(Call.direction == Direction.IN.value, quiet, _ends_by_legs(), _all_legs_over()),
        ),
    )
    talking = and_(Call.state == CallState.ANSWERED, Call.updated_at < now - LONGEST_TALK)
    recent = Call.started_at > now - dt.timedelta(days=2)
    query = select(Call.id).where(recent, or_(ringing, talking)).order_by(Call.id).limit(_MOST)
    return list(db.session.scalars(query))


def _ends_by_legs() -> ColumnElement[bool]:
    """It depends on the settings of a connection, so the connections are asked."""
    return Call.connection_id.in_(connections.ending_by_legs())


def _all_legs_over() -> ColumnElement[bool]:
    legs = CallLeg.call_id == Call.id
    return and_(
        exists().where(legs, CallLeg.state == CallState.ENDED),
        ~exists().where(legs, CallLeg.state != CallState.ENDED),
    )


@operation
def _end(call_id: int) -> bool:
    # Before the row, as whoever takes an event in does: a talk with the client that is told at this
    # very moment must see that the call was missed, or be seen.
    key = db.session.scalar(select(Call.client_key).where(Call.id == call_id))
    locks.hold("call", [f"client:{key}"] if key else [])
    call = rows.locked(Call, call_id)
    if call is None or call_state.is_over(call):
        return False
    call_state.give_up(call)
    db.session.flush()
    connection = db.session.get(TelephonyConnection, call.connection_id)
    if connection is not None and call.deal_id is not None:
        missed_calls.follow(call, connection)
    bus.emit("call.ended", None, call_id=call.id)
    if call.deal is not None:
        deals.tell(call.deal)
    return True
