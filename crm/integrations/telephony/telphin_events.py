"""Телфин: fields of its notices and rows of its history as `CallEvent`s.

Source: ringme-confluence.atlassian.net, pages 1901921397 (events of an extension) and 1189412865
(how calls make events); statuses and the history from github.com/xdimedrolx/telphin-go-sdk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

OPERATOR = "telphin"

# Documented notices that say nothing about the state of a call.
NOISE = frozenset({"message-in", "message-out", "voicemail", "extension-call-status"})

# How an incoming call ends (setting `call_end`).
BY_ENTRY, BY_PHONES, BY_DIRECT_PHONES = "entry", "phones", "direct"

# Microseconds in one unit of `Duration`; the unit is not documented (setting `duration_unit`).
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_SURELY_MICROSECONDS = 100_000
_LONGEST_CALL = 7 * 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_SECONDS = 4_102_444_800  # 2100-01-01
_OWN_NUMBER = re.compile(r"[^*@\s]+\*([^*@\s]+)(?:@\S*)?")

_KINDS = {
    "dial-in": CallKind.RINGING,
    "dial-out": CallKind.RINGING,
    "answer": CallKind.ANSWERED,
    "hangup": CallKind.LEG_ENDED,
}
_RESULTS = {
    "ANSWER": CallResult.ANSWERED,
    "BUSY": CallResult.BUSY,
    "NOANSWER": CallResult.NO_ANSWER,
    "CANCEL": CallResult.CANCELLED,
    "CONGESTION": CallResult.FAILED,
    "CHANUNAVAIL": CallResult.FAILED,
}
_HISTORY_RESULTS = {
    "busy": CallResult.BUSY,
    "rejected": CallResult.BUSY,
    "failed": CallResult.FAILED,
    "not answered": CallResult.NO_ANSWER,
    # A menu answers by itself: without a bridge nobody of the people did.
    "answered": CallResult.NO_ANSWER,
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the notice itself does not hold."""

    connection_id: int
    received_at: datetime
    fallback_id: str
    entries: frozenset[str] = frozenset()
    call_end: str = BY_ENTRY
    unit: str = ""
    raw: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Leg:
    """Who talks to whom; `forwarded` legs leave the PBX for the client's sake, not to a client."""

    flow: Direction
    direction: Direction | None
    client: str | None
    extension: str | None
    at_entry: bool = False
    forwarded: bool = False
    # The employee's own telephone rings first in a call that he has asked for.
    requested: bool = False
    transferred: bool = False


def from_notice(fields: Payload, origin: Origin) -> list[CallEvent] | None:
    """One notice; None when its type is not known. Raises `MalformedRequest`."""
    name = fields.required("EventType").lower()
    if name in NOISE:
        return []
    if name not in _KINDS:
        return None
    leg = _leg(name, fields, origin)
    if leg is None or (name == "answer" and (leg.at_entry or leg.requested)):
        return []
    moment = _moment(fields)
    call_id = call_key(fields.required("CallID"))
    event = _event(
        origin,
        provider_call_id=call_id,
        event_id=_event_id(origin, fields, call_id, leg),
        occurred_at=moment,
        alias_call_ids=_aliases(fields, call_id),
        leg_id=fields.identifier("SubCallID"),
        direction=leg.direction,
        client_number=leg.client,
        line_number=fields.number("CalledDID"),
        extension=leg.extension,
        employee_key=leg.extension,
        transferred=leg.transferred,
        **_state(name, fields, leg, origin, moment),
    )
    return [event, *_recording(fields, event, origin)]


def call_key(text: str) -> str:
    """Id of a call: the answer to a callback and the events write the same hex in both cases."""
    return text.upper() if text.isascii() else text


# --- who talks to whom ------------------------------------------------------------------------


def _leg(name: str, fields: Payload, origin: Origin) -> _Leg | None:
    """None for a call of a queue or a transfer to a colleague: his own events tell of it."""
    flows = {"dial-in": "in", "dial-out": "out"}
    flow = flows.get(name) or (fields.text("CallFlow") or "").lower()
    if flow not in ("in", "out"):
        dialled = _own(fields, "CallerExtension") and _outside(fields, "CalledNumber")
        flow = "out" if dialled else "in"
    return _incoming(fields, origin) if flow == "in" else _outgoing(fields, origin)


def _incoming(fields: Payload, origin: Origin) -> _Leg:
    called = _own(fields, "CalledExtension") or _own(fields, "CalledNumber")
    # Only menus and queues tell whether any of the employees took the call.
    at_entry = called in origin.entries or _flag(fields.text("Bridged")) is not None
    # Present when a call is handed from one extension to another: the client behind it.
    remote = _outside(fields, "RemoteNumber")
    # The leg to the employee of a call that we have asked for; seen in parsers of others only.
    by_request = fields.text("CallBackID") is not None
    return _Leg(
        flow=Direction.IN,
        direction=None if by_request else _incoming_direction(fields, remote),
        client=None if by_request else remote or _outside(fields, "CallerIDNum"),
        extension=None if at_entry else called,
        at_entry=at_entry,
        requested=by_request,
        transferred=remote is not None,
    )


def _incoming_direction(fields: Payload, remote: str | None) -> Direction | None:
    """None when a colleague hands over a call that somebody of ours may have begun."""
    if fields.number("CalledDID"):
        return Direction.IN
    by_colleague = _own(fields, "CallerIDNum") or fields.text("CallerExtension")
    if remote or (by_colleague and _outside(fields, "CallerIDNum")):
        return None
    return Direction.INTERNAL if by_colleague else Direction.IN


def _outgoing(fields: Payload, origin: Origin) -> _Leg | None:
    caller = _own(fields, "CallerExtension") or _own(fields, "CallerIDNum")
    at_entry = caller in origin.entries
    transferred = _flag(fields.text("Transfered")) is True
    # A number the client has dialled: his call leaves the PBX again (to a mobile, say).
    forwarded = transferred or at_entry or fields.number("CalledDID") is not None
    to_colleague = _own(fields, "CalledNumber") is not None
    if to_colleague and forwarded:
        return None
    unknown = forwarded or to_colleague
    return _Leg(
        flow=Direction.OUT,
        direction=Direction.INTERNAL if to_colleague else None if forwarded else Direction.OUT,
        client=None if unknown else _outside(fields, "CalledNumber"),
        extension=None if at_entry else caller,
        forwarded=forwarded,
        transferred=transferred,
    )


def internal_number(text: str) -> str | None:
    """`101` of `15657*101@domain` or of a bare `101`; None for a number outside."""
    match = _OWN_NUMBER.fullmatch(text)
    if match:
        return match[1]
    return text if text.isdecimal() and phones.is_internal(text) else None


def _own(fields: Payload, name: str) -> str | None:
    return internal_number(fields.identifier(name) or "")


def _outside(fields: Payload, name: str) -> str | None:
    number = fields.number(name)
    return None if number is None or _own(fields, name) or phones.is_internal(number) else number


# --- what has happened ------------------------------------------------------------------------


def _state(
    name: str, fields: Payload, leg: _Leg, origin: Origin, moment: datetime | None
) -> dict[str, Any]:
    if name != "hangup":
        kind = _KINDS[name]
        return {"kind": kind, "answered_at": moment if kind is CallKind.ANSWERED else None}
    if leg.forwarded or leg.requested:
        return {"kind": CallKind.LEG_ENDED}
    state = (_entry_end if leg.at_entry else _phone_end)(fields, leg, origin)
    over = state["kind"] is not CallKind.LEG_ENDED
    return {**state, "ended_at": moment if over else None}


def _entry_end(fields: Payload, _leg: _Leg, origin: Origin) -> dict[str, Any]:
    """The menu or queue that held the call lets it go; its own `CallStatus` is about itself."""
    bridged = _flag(fields.text("Bridged"))
    if bridged is None:
        return {"kind": CallKind.ENDED}
    if bridged:
        talk = _duration(fields, "BridgedDuration", origin)
        return {"kind": CallKind.ENDED, "result": CallResult.ANSWERED, "talk": talk}
    result = _RESULTS.get(_status(fields), CallResult.NO_ANSWER)
    if result is CallResult.ANSWERED:
        result = CallResult.NO_ANSWER
    return {"kind": CallKind.MISSED, "result": result, "talk": 0}


def _phone_end(fields: Payload, leg: _Leg, origin: Origin) -> dict[str, Any]:
    """A telephone has hung up: whether the call is over depends on who else is subscribed."""
    result = _RESULTS.get(_status(fields), CallResult.UNKNOWN)
    answered = result is CallResult.ANSWERED
    talk = _talk(fields, origin) if answered else None
    if answered and (leg.flow is Direction.OUT or origin.call_end != BY_ENTRY):
        return {"kind": CallKind.ENDED, "result": result, "talk": talk}
    if leg.flow is Direction.OUT:
        return {"kind": CallKind.ENDED, "result": result}
    if origin.call_end == BY_DIRECT_PHONES and not answered:
        return {"kind": CallKind.MISSED, "result": result, "talk": 0}
    # That one employee talked proves that the call was answered, never that it is over.
    return {"kind": CallKind.LEG_ENDED, "talk": talk}


def _recording(fields: Payload, event: CallEvent, origin: Origin) -> list[CallEvent]:
    recording = fields.identifier("RecID")
    is_over = event.kind in (CallKind.LEG_ENDED, CallKind.ENDED, CallKind.MISSED)
    if recording is None or not is_over or event.direction is Direction.INTERNAL:
        return []
    return [_recording_event(origin, event, recording)]


def _recording_event(origin: Origin, event: CallEvent, recording: str) -> CallEvent:
    """Equal for the same file in a notice and in the history."""
    return _event(
        origin,
        kind=CallKind.RECORDING_READY,
        provider_call_id=event.provider_call_id,
        event_id=_short("record:" + recording.upper()),
        occurred_at=None if event.occurred_at_is_receipt else event.occurred_at,
        final=event.final,
        recording_ref=recording,
    )


def _status(fields: Payload) -> str:
    return (fields.text("CallStatus") or "").upper()


def _talk(fields: Payload, origin: Origin) -> int | None:
    """Seconds; some accounts tell the talk apart from the whole leg."""
    talk = _duration(fields, "BridgedDuration", origin)
    return _duration(fields, "Duration", origin) if talk is None else talk


def _duration(fields: Payload, name: str, origin: Origin) -> int | None:
    value = fields.integer(name)
    if value is None or value < 0:
        return None
    guess = "microseconds" if value > _SURELY_MICROSECONDS else "seconds"
    seconds = value * UNITS.get(origin.unit, UNITS[guess]) // 1_000_000
    return seconds if seconds <= _LONGEST_CALL else None


def _moment(fields: Payload) -> datetime | None:
    """`EventTime`: microseconds; smaller numbers can only be milliseconds or seconds."""
    value = fields.integer("EventTime")
    if not value:
        return None
    for per_second in (1, 1_000, 1_000_000):
        if 0 < value < _LATEST_SECONDS * per_second:
            return _EPOCH + timedelta(microseconds=value * (1_000_000 // per_second))
    raise MalformedRequest("Поле «EventTime» не похоже на время")


def _aliases(fields: Payload, call_id: str) -> tuple[str, ...]:
    """`CallAPIID` is the `call_api_id` of a callback."""
    other = call_key(fields.identifier("CallAPIID") or "")
    return (other,) if other and other != call_id else ()


def _event_id(origin: Origin, fields: Payload, call_id: str, leg: _Leg) -> str:
    """The operator has no id of a notice: the leg, the called number and the moment make one."""
    told = fields.integer("EventTime")
    if not told:
        return origin.fallback_id
    name, part = fields.required("EventType").lower(), fields.identifier("SubCallID") or ""
    called = fields.identifier("CalledNumber") or ""
    return _short(f"{name}:{call_id}:{part}:{leg.flow.value}:{called}:{told}")


# --- history ----------------------------------------------------------------------------------


def from_history(value: Mapping[str, Any], origin: Origin) -> list[CallEvent]:
    """A row of `call_history`: the final event and its recordings; none while the call goes on.

    Raises `MalformedRequest`.
    """
    row = Payload(value)
    call_id = call_key(row.required("call_uuid"))
    if "hangup_time_gmt" not in value:
        raise MalformedRequest("Нет обязательного поля «hangup_time_gmt»")
    ended = _gmt(row, "hangup_time_gmt")
    if ended is None:
        return []
    direction = _history_direction(row)
    answered = _was_bridged(value, direction)
    inbound = direction is Direction.IN
    final = _event(
        origin,
        kind=CallKind.MISSED if inbound and not answered else CallKind.ENDED,
        provider_call_id=call_id,
        # A later export may know more (a recording): the content is part of the id.
        event_id="history:" + _sha256(row.source()),
        occurred_at=ended,
        final=True,
        direction=direction,
        client_number=_history_client(row, direction),
        line_number=row.number("did_number"),
        result=CallResult.ANSWERED if answered else _history_result(row),
        transferred=any(leg.text("flow") == "transfer" for leg in row.objects("cdr")),
        **_history_times(row, ended, answered=answered),
        **_history_employee(row, direction, answered=answered),
    )
    return [final, *_history_recordings(row, final, origin)]


def _history_direction(row: Payload) -> Direction | None:
    both_ours = _own(row, "from_username") and _own(row, "to_username")
    if both_ours and row.number("did_number") is None:
        return Direction.INTERNAL
    flows = {"in": Direction.IN, "out": Direction.OUT}
    return flows.get((row.text("flow") or "").lower())


def _was_bridged(value: Mapping[str, Any], direction: Direction | None) -> bool:
    """Incoming: `answered` may be a menu alone. Recorded replies lack the mark `bridged` [G]."""
    mark = _flag(value.get("bridged"))
    if mark is not None:
        return mark
    result = (Payload(value).text("result") or "").lower()
    return result == "bridged" or (result == "answered" and direction is not Direction.IN)


def _history_result(row: Payload) -> CallResult:
    result = _HISTORY_RESULTS.get((row.text("result") or "").lower(), CallResult.UNKNOWN)
    gave_up = row.text("hangup_disposition") == "caller_cancel"
    return CallResult.CANCELLED if gave_up and result is CallResult.NO_ANSWER else result


def _history_client(row: Payload, direction: Direction | None) -> str | None:
    if direction not in (Direction.IN, Direction.OUT):
        return None
    return _outside(row, "from_username" if direction is Direction.IN else "to_username")


def _history_times(row: Payload, ended: datetime, *, answered: bool) -> dict[str, Any]:
    started = _gmt(row, "start_time_gmt") or _gmt(row, "init_time_gmt")
    bridged = _gmt(row, "bridged_time_gmt") if answered else None
    total, talk = (_told_seconds(row, name) for name in ("duration", "bridged_duration"))
    return {
        "started_at": started,
        "answered_at": bridged,
        "ended_at": ended,
        "duration_total": _seconds(started, ended) if total is None else total,
        "talk": (_seconds(bridged, ended) if talk is None else talk) if answered else 0,
    }


def _history_employee(
    row: Payload, direction: Direction | None, *, answered: bool
) -> dict[str, Any]:
    """Who dialled out or who took the call; the extension of the row may be the menu."""
    phone = _own(row, "extension_name") if row.text("extension_type") == "phone" else None
    if direction is Direction.OUT:
        extension = phone or _own(row, "from_username")
    elif answered:
        extension = _own(row, "bridged_username") or next(_answered_phones(row), None) or phone
    else:
        extension = phone
    return {"extension": extension, "employee_key": extension}


def _answered_phones(row: Payload) -> Iterator[str]:
    for leg in row.objects("cdr"):
        if leg.text("extension_type") == "phone" and leg.text("result") == "answered":
            extension = _own(leg, "extension_name") or _own(leg, "to_username")
            if extension:
                yield extension


def _history_recordings(row: Payload, final: CallEvent, origin: Origin) -> list[CallEvent]:
    if final.direction is Direction.INTERNAL:
        return []
    found = [leg.identifier("record_uuid") for leg in row.objects("cdr")]
    return [_recording_event(origin, final, item) for item in dict.fromkeys(found) if item]


def _told_seconds(row: Payload, name: str) -> int | None:
    seconds = row.integer(name)
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_CALL else None


def _gmt(row: Payload, name: str) -> datetime | None:
    """`YYYY-MM-DD HH:MM:SS[.fraction]` without a zone."""
    text = row.text(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedRequest(f"Поле «{name}» не похоже на время") from error


# --- common -----------------------------------------------------------------------------------


def _event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _flag(value: object) -> bool | None:
    """`yes`, `no` and their kin; None for anything else."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    return words.get(str(value).strip().lower())


def _seconds(start: datetime | None, end: datetime) -> int | None:
    return None if start is None else max(0, int((end - start).total_seconds()))


def _short(text: str) -> str:
    return text if len(text) <= MAX_ID else _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
