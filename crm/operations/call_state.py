"""How events of one call add up to the call, in whatever order and however often they come.

Every fact is joined by a rule that forgets the order (the earliest start, the latest end, the
better evidence), and facts of the operator's final record overrule live ones. So all orders of
the same events give the same call.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from crm.models import Call, CallLeg, CallState, RecordingState

# The employee that the final record names; its row is a leg like the others.
FINAL_LEG = "final"
_OVER = (CallKind.ENDED, CallKind.MISSED)
_RINGS = (CallKind.RINGING, CallKind.LEG_ENDED)
_DIRECTION_RANK = {"out": 1, "in": 2}
_RESULT_RANK = {
    result.value: rank
    for rank, result in enumerate(
        (
            CallResult.UNKNOWN,
            CallResult.FAILED,
            CallResult.CANCELLED,
            CallResult.NO_ANSWER,
            CallResult.BUSY,
            CallResult.ANSWERED,
        )
    )
}
# How near each state is to a recording that can be heard.
_RECORDING_RANK: dict[str, int] = {
    RecordingState.NONE: 0,
    RecordingState.ABSENT: 1,
    RecordingState.WAITING: 2,
    RecordingState.EXPIRED: 3,
    RecordingState.STORED: 4,
}
Join = Callable[[Any, Any], Any]


def absorb(call: Call, event: CallEvent) -> None:
    """Add what an event tells to the call's facts; the legs are absorbed apart."""
    told = dict(_told(event))
    for name, join in _JOINS.items():
        _put(call, name, told.get(name), join, final=_is_firm(event, name))
    if event.kind is CallKind.ANSWERED:
        _put(call, "answered_at", event.answered_at or event.occurred_at, min, final=False)
    call.is_final = bool(call.is_final) or event.final
    call.transferred = bool(call.transferred) or event.transferred
    _derive(call, event.kind)
    _keep_recording(call, event)


def unite(call: Call, other: Call) -> None:
    """Add the facts of a row that turned out to be the same call."""
    for name, join in _JOINS.items():
        firm = name in (other.final_fields or ())
        _put(call, name, getattr(other, name), join, final=firm)
    call.is_final = bool(call.is_final) or bool(other.is_final)
    call.transferred = bool(call.transferred) or bool(other.transferred)
    if is_over(other) and not is_over(call):
        call.state = other.state
    _derive(call, CallKind.UNKNOWN)
    if other.recording_ref and not call.recording_ref:
        call.recording_ref = other.recording_ref
    if _RECORDING_RANK[other.recording_state] > _RECORDING_RANK[call.recording_state]:
        call.recording_state = other.recording_state
        call.recording_due_at = other.recording_due_at
        call.recording_file_id = other.recording_file_id


def absorb_leg(leg: CallLeg, event: CallEvent, employee_id: int | None) -> None:
    """Add what an event tells of one employee's part."""
    leg.extension = _greatest(leg.extension, _extension(event))
    if leg.extension == _extension(event):
        leg.employee_id = employee_id
    if leg.leg_id == FINAL_LEG:
        leg.state = CallState.ENDED
    if event.kind is CallKind.ANSWERED:
        moment = event.answered_at or event.occurred_at
        leg.answered_at = moment if leg.answered_at is None else min(leg.answered_at, moment)
        leg.state = CallState.ENDED if leg.state == CallState.ENDED else CallState.ANSWERED
    elif event.kind is CallKind.LEG_ENDED:
        leg.state = CallState.ENDED


def leg_id(event: CallEvent) -> str | None:
    """Which employee's part the event tells about; None when about nobody's."""
    if event.final and event.kind in _OVER:
        return FINAL_LEG if _extension(event) else None
    if event.leg_id:
        return event.leg_id[:128]
    extension = _extension(event)
    return f"ext:{extension}" if extension else None


def employee_of(call: Call, legs: Iterable[CallLeg]) -> int | None:
    """Who talked: the final record's word, else the first who answered; else who dialled out."""
    known = sorted((leg for leg in legs if leg.employee_id is not None), key=lambda leg: leg.leg_id)
    if call.direction != Direction.OUT.value and not was_answered(call):
        return None
    final = [leg for leg in known if leg.leg_id == FINAL_LEG]
    talked = sorted(
        ((leg.answered_at, leg.leg_id, leg) for leg in known if leg.answered_at is not None),
        key=lambda row: row[:2],
    )
    dialled = known if call.direction == Direction.OUT.value else []
    candidates = [*final, *(row[2] for row in talked), *dialled]
    return candidates[0].employee_id if candidates else None


def was_answered(call: Call) -> bool:
    """Whether anything proves that somebody talked."""
    return (
        call.answered_at is not None or bool(call.talk) or call.result == CallResult.ANSWERED.value
    )


def is_over(call: Call) -> bool:
    """Whether the call has ended, answered or not."""
    return call.state in (CallState.ENDED, CallState.MISSED)


def give_up(call: Call) -> None:
    """No event has told the end: an unanswered call was missed, an answered one is over."""
    call.state = _ending(call, CallKind.LEG_ENDED, talked=was_answered(call))


def expect_recording(call: Call, event: CallEvent, delay: dt.timedelta) -> None:
    """The operator named a recording: fetch it, not before ``delay`` has passed."""
    if not (event.recording_ref or event.recording_url):
        return
    if call.recording_state in (RecordingState.STORED, RecordingState.EXPIRED):
        return  # what was deleted on time is not fetched anew when the history is looked at
    due = event.occurred_at + delay
    waiting = call.recording_state == RecordingState.WAITING and call.recording_due_at
    if not waiting:
        call.recording_state = RecordingState.WAITING
        call.recording_attempts = 0
        call.recording_due_at = due
    elif not call.recording_attempts and call.recording_due_at is not None:
        call.recording_due_at = min(call.recording_due_at, due)


def _told(event: CallEvent) -> Iterator[tuple[str, Any]]:
    """Facts of an event; absent ones are left out."""
    over = event.kind in _OVER
    facts = {
        "direction": event.direction.value if event.direction else None,
        "client_number": event.client_number,
        "line_number": event.line_number,
        "answered_at": event.answered_at,
        "ended_at": event.ended_at or (event.occurred_at if over else None),
        "duration_total": event.duration_total,
        "talk": event.talk,
        "result": event.result.value if event.result else None,
        "crm_request_id": event.crm_request_id,
        # The earliest event stands in for the start until the operator tells it.
        "started_at": event.started_at or event.occurred_at,
    }
    for name, value in facts.items():
        if value is not None:
            yield name, value


def _is_firm(event: CallEvent, name: str) -> bool:
    """Whether live events may no more overrule this fact; our own stand-ins are never firm."""
    if name == "crm_request_id":
        return False
    if name in ("started_at", "ended_at") and getattr(event, name) is None:
        return False
    return event.final


def _put(call: Call, name: str, value: Any, join: Join, *, final: bool) -> None:
    if value is None:
        return
    current = getattr(call, name)
    firm = name in (call.final_fields or ())
    if final and not firm:
        call.final_fields = sorted([*(call.final_fields or ()), name])
        setattr(call, name, value)
    elif current is None:
        setattr(call, name, value)
    elif final == firm:
        setattr(call, name, join(current, value))


def _derive(call: Call, kind: CallKind) -> None:
    """The state follows from the facts; it moves forward only."""
    talked = was_answered(call)
    if talked:
        call.result = CallResult.ANSWERED.value
    if is_over(call) or kind in _OVER:
        call.state = _ending(call, kind, talked=talked)
    elif talked:
        call.state = CallState.ANSWERED
    elif kind in _RINGS or call.state == CallState.RINGING:
        call.state = CallState.RINGING
    else:
        call.state = CallState.NEW


def _ending(call: Call, kind: CallKind, *, talked: bool) -> CallState:
    if talked or call.direction == Direction.OUT.value:
        return CallState.ENDED
    told = kind is CallKind.MISSED or call.state == CallState.MISSED
    inbound = call.direction == Direction.IN.value
    return CallState.MISSED if told or inbound else CallState.ENDED


def _keep_recording(call: Call, event: CallEvent) -> None:
    """The newest id and the newest address stay, each by its own time; empty ones do nothing."""
    kept = dict(call.recording_ref or {})
    at = event.occurred_at.isoformat()
    for name, value in (("ref", event.recording_ref), ("url", event.recording_url)):
        if value and [at, value] > [kept.get(f"{name}_at", ""), kept.get(name, "")]:
            kept |= {name: value, f"{name}_at": at}
    employee = event.employee_key or event.extension
    if employee and (event.recording_ref or event.recording_url):
        kept["employee_key"] = _greatest(kept.get("employee_key"), employee)
    if kept and kept != (call.recording_ref or {}):
        call.recording_ref = kept


def _extension(event: CallEvent) -> str | None:
    key = event.employee_key or event.extension
    return key[:64] if key else None


def _greatest(left: str | None, right: str | None) -> str | None:
    return max(filter(None, (left, right)), key=lambda text: (len(text), text), default=None)


def _by_rank(rank: dict[str, int]) -> Join:
    return lambda left, right: max(left, right, key=lambda value: rank.get(value, -1))


_JOINS: dict[str, Join] = {
    "direction": _by_rank(_DIRECTION_RANK),
    "client_number": _greatest,
    "line_number": _greatest,
    "started_at": min,
    "answered_at": min,
    "ended_at": max,
    "duration_total": max,
    "talk": max,
    "result": _by_rank(_RESULT_RANK),
    "crm_request_id": _greatest,
}
