"""Rostelecom: `call_events` and rows of the call report as `CallEvent`s.

Sources: fields and states from github.com/kamotora/diplom (quotes the operator's "Интеграционный
API. Руководство администратора домена"), columns and deviations of the live service from
github.com/LLCIBS/saasBW.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.integrations.telephony.shapes import Extension
from crm.values import phones

OPERATOR = "rostelecom"
MOSCOW = ZoneInfo("Europe/Moscow")

# Documented, but its body is not: speech analytics says nothing about the state of a call.
NOISE_STATES = frozenset({"analytics"})

_LIVE_KINDS = {
    "new": CallKind.RINGING,
    "calling": CallKind.RINGING,
    "connected": CallKind.ANSWERED,
    "disconnected": CallKind.LEG_ENDED,
    "end": CallKind.ENDED,
}
_DIRECTIONS = {
    "incoming": Direction.IN,
    "outbound": Direction.OUT,
    "internal": Direction.INTERNAL,
}
_HISTORY_DIRECTIONS = {1: Direction.IN, 2: Direction.OUT, 3: Direction.INTERNAL}
_YES = frozenset({"true", "1", "yes", "t"})
_LONGEST_CALL = 7 * 86_400
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the JSON or the row itself does not hold."""

    connection_id: int
    received_at: datetime
    fallback_id: str
    raw: str = field(repr=False)


def event_payload(value: object) -> Payload:
    """Body of a notice: the document writes `"true"`, a real boolean is read alike."""
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    plain = {
        name: str(item).lower() if isinstance(item, bool) else item for name, item in value.items()
    }
    return Payload(plain)


def identity(payload: Payload) -> str | None:
    """What makes a notice of `call_events` one and the same, hashed; None without a time.

    The operator sends neither a nonce nor an id of the notice, so these four fields stand for it.
    """
    if payload.text("timestamp") is None or payload.text("session_id") is None:
        return None
    names = ("session_id", "state", "timestamp", "request_pin")
    return _sha256(repr([payload.text(name) or "" for name in names]))


def from_notice(payload: Payload, origin: Origin) -> list[CallEvent] | None:
    """`call_events`: the call or one employee's part changed; None for what nobody documented."""
    session = payload.required("session_id")
    state, call_type = _word(payload, "state"), _word(payload, "type")
    if state in NOISE_STATES:
        return []
    kind, direction = _LIVE_KINDS.get(state), _DIRECTIONS.get(call_type)
    if kind is None or (call_type and direction is None):
        return None
    told = _live(kind, payload, direction, session, origin)
    if kind is CallKind.ENDED and _flag(payload, "is_record"):
        return [told, _recording(told, session)]
    return [told]


def from_history(row: Payload, origin: Origin) -> CallEvent:
    """A row of the report, final; raises `MalformedRequest` for columns that make no sense.

    `duration` is 0 without a connection, so it is the talk; when the call ended is not told.
    """
    session = row.required("session_id")
    direction = _HISTORY_DIRECTIONS.get(row.integer("direction") or 0)
    started = moment(row.text("start_call_date"))
    if direction is None or started is None:
        raise MalformedRequest("В строке нет направления или времени звонка")
    answered = _was_answered(row, direction)
    missed = answered is False and direction is Direction.IN
    talk = _seconds(row) if answered is not False else 0
    return _event(
        origin,
        kind=CallKind.MISSED if missed else CallKind.ENDED,
        provider_call_id=session,
        # A later report may know more (a recording): the content is part of the id.
        event_id="history:" + _sha256(row.source()),
        occurred_at=started + timedelta(seconds=talk or 0),
        final=True,
        direction=direction,
        started_at=started,
        talk=talk,
        result=_result(answered),
        recording_ref=session if _flag(row, "is_record") else None,
        **_history_parties(row, direction),
    )


def pin_of(user: Payload) -> str | None:
    """Internal number in an entry of `users_info`; the answer's names are not confirmed."""
    return user.text("pin") or user.text("PIN")


def extension_of(user: Payload) -> Extension | None:
    """Employee of `users_info`, None without an internal number."""
    number = pin_of(user)
    if number is None:
        return None
    return Extension(
        number=number,
        name=user.text("display_name") or user.text("name") or number,
        employee_key=number,
        email=user.text("email"),
    )


def moment(text: str | None) -> datetime | None:
    """Unix seconds or `YYYY-MM-DD HH:MM:SS[.mmm]` of Moscow as aware UTC; None when unreadable."""
    if text is None:
        return None
    try:
        found = _unix(text) if text.isdecimal() else datetime.fromisoformat(text)
        found = (found if found.tzinfo else found.replace(tzinfo=MOSCOW)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST <= found < _LATEST else None


def moscow(at: datetime) -> str:
    """The operator's text of an aware moment, whole seconds."""
    return at.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S")


def _unix(text: str) -> datetime:
    if len(text) > 12:
        raise ValueError(text)
    return datetime.fromtimestamp(int(text), UTC)


def _live(
    kind: CallKind, payload: Payload, direction: Direction | None, session: str, origin: Origin
) -> CallEvent:
    at = moment(payload.text("timestamp"))
    proven = kind is CallKind.ENDED and _flag(payload, "is_record")
    digest = identity(payload)
    return _event(
        origin,
        kind=_ending(payload, direction) if kind is CallKind.ENDED else kind,
        provider_call_id=session,
        event_id=f"event:{digest}" if digest else origin.fallback_id,
        occurred_at=at,
        direction=direction,
        started_at=at if _word(payload, "state") == "new" else None,
        answered_at=at if kind is CallKind.ANSWERED else None,
        ended_at=at if kind is CallKind.ENDED else None,
        result=CallResult.ANSWERED if proven else None,
        **_live_parties(payload, direction),
    )


def _ending(payload: Payload, direction: Direction | None) -> CallKind:
    """`end` itself does not say whether anybody talked: a recording or an employee in it does.

    Being live, it yields to a `connected` event and to the report.
    """
    talked = _flag(payload, "is_record") or payload.text("request_pin") is not None
    return CallKind.ENDED if talked or direction is not Direction.IN else CallKind.MISSED


def _recording(told: CallEvent, session: str) -> CallEvent:
    """Recordings are asked for by the id of the call."""
    return CallEvent(
        kind=CallKind.RECORDING_READY,
        operator=told.operator,
        connection_id=told.connection_id,
        provider_call_id=session,
        event_id=_recording_id(session),
        occurred_at=told.occurred_at,
        occurred_at_is_receipt=told.occurred_at_is_receipt,
        direction=told.direction,
        recording_ref=session,
        raw=told.raw,
    )


def _recording_id(session: str) -> str:
    text = f"record:{session}"
    return text if len(text) <= MAX_ID else f"record:{_sha256(session)}"


def _live_parties(payload: Payload, direction: Direction | None) -> dict[str, Any]:
    """Employee by `request_pin` of a call in, by `from_pin` of any other."""
    called, calling = payload.identifier("request_pin"), payload.identifier("from_pin")
    return _parties(
        direction,
        caller=payload.number("from_number"),
        callee=payload.number("request_number"),
        extension=called if direction is Direction.IN else calling or called,
    )


def _history_parties(row: Payload, direction: Direction) -> dict[str, Any]:
    inbound = direction is Direction.IN
    return _parties(
        direction,
        caller=row.number("orig_number"),
        callee=row.number("dest_number"),
        extension=row.identifier("answering_pin" if inbound else "orig_pin"),
    )


def _parties(
    direction: Direction | None, *, caller: str | None, callee: str | None, extension: str | None
) -> dict[str, Any]:
    """In: the client calls the line. Out: the line is not told, the caller is an employee."""
    inbound = direction is Direction.IN
    outgoing = direction is Direction.OUT
    return {
        "client_number": _outside(caller if inbound else callee if outgoing else None),
        "line_number": _outside(callee) if inbound else None,
        "extension": extension,
        "employee_key": extension,
    }


def _outside(number: str | None) -> str | None:
    return None if phones.is_internal(number) else number


def _was_answered(row: Payload, direction: Direction) -> bool | None:
    """`state` decides (1 accepted, 2 not); a machine that took a call in is not an employee."""
    accepted = {1: True, 2: False}.get(row.integer("state") or 0)
    machine = _flag(row, "is_voicemail") or _flag(row, "is_fax")
    nobody = row.text("answering_pin") is None and row.text("answering_sipuri") is None
    if direction is Direction.IN and machine and nobody:
        return False
    if accepted is None and row.integer("duration"):
        return True
    return accepted


def _result(answered: bool | None) -> CallResult:
    if answered is None:
        return CallResult.UNKNOWN
    return CallResult.ANSWERED if answered else CallResult.NO_ANSWER


def _seconds(row: Payload) -> int | None:
    talk = row.integer("duration")
    return talk if talk is not None and 0 <= talk <= _LONGEST_CALL else None


def _flag(payload: Payload, name: str) -> bool:
    return _word(payload, name) in _YES


def _word(payload: Payload, name: str) -> str:
    return (payload.text(name) or "").lower()


def _event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
