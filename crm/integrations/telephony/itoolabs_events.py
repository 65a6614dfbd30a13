"""ITooLabs platform: fields of its requests and of finished calls as `CallEvent`s.

Sources: field texts of the vendor as repeated by public integrations: github.com/antibaloo/
bpm.ucre.ru, github.com/maxim-oleinik/gravitel, github.com/mikopbx/ModuleMegafonPbx.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

# Not part of the meaning of a request: our secret and a flag of the platform.
_NOT_MEANING = frozenset({"crm_token", "z-flag"})
# Written in place of an employee when the call reached none of them.
_NOBODY = frozenset({"ivr", "fax", "pbx"})
_LONGEST_CALL = 7 * 86_400
_YEARS = range(2000, 2101)
_DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT, "missed": Direction.IN}
_INTERNAL = frozenset({"internal", "inner"})
_KINDS = {
    "INCOMING": CallKind.RINGING,
    "OUTGOING": CallKind.RINGING,
    "ACCEPTED": CallKind.ANSWERED,
    "COMPLETED": CallKind.ENDED,
    "CANCELLED": CallKind.LEG_ENDED,
    # The one who handed the call over is free; the call itself goes on.
    "TRANSFERRED": CallKind.LEG_ENDED,
}
_RESULTS = {
    "success": CallResult.ANSWERED,
    "missed": CallResult.NO_ANSWER,
    "noanswer": CallResult.NO_ANSWER,
    "notavailable": CallResult.NO_ANSWER,
    "cancel": CallResult.CANCELLED,
    "cancelled": CallResult.CANCELLED,
    "busy": CallResult.BUSY,
    "notallowed": CallResult.FAILED,
    "notfound": CallResult.FAILED,
    "callaerror": CallResult.FAILED,
}


class Durations(Enum):
    """What the number of seconds in `duration` counts: the documents and the clients disagree."""

    AS_TOLD = "as_told"
    TOTAL = "total"
    TALK = "talk"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the fields themselves do not hold."""

    operator: str
    connection_id: int
    received_at: datetime
    event_id: str
    durations: Durations
    raw: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class FinishedCall:
    """The operator's final record of a call, wherever it came from; `wait`, `duration` seconds."""

    call_id: str
    direction: Direction | None
    result: CallResult
    client_number: str | None
    line_number: str | None
    user: str | None
    extension: str | None
    started_at: datetime | None
    wait: int | None
    duration: int | None
    link: str | None


def fields_of(request: InboundRequest) -> dict[str, str]:
    """Fields of a request: a form, JSON (an example of the vendor) or, by GET, the query.

    Raises `MalformedRequest`.
    """
    if request.method == "GET":
        if any("\x00" in name or "\x00" in value for name, value in request.query.items()):
            raise MalformedRequest("В поле запроса есть нулевой символ")
        return dict(request.query)
    if request.content_type == "application/json" or request.body[:1] == b"{":
        value = request.json()
        if not isinstance(value, Mapping):
            raise MalformedRequest("Ожидался объект JSON")
        return {name: str(item) for name, item in value.items() if isinstance(item, str | int)}
    return request.form()


def fingerprint(fields: Mapping[str, str]) -> str:
    """Hash (64 characters) of the meaning: order and secret do not matter."""
    meaning = sorted(item for item in fields.items() if item[0] not in _NOT_MEANING)
    return sha256(repr(meaning))


def sha256(text: str) -> str:
    """Lower-case hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def moment(text: str | None) -> datetime | None:
    """`YYYYmmddTHHMMSSZ` or ISO 8601 as aware UTC; without a zone it is UTC. None for no time."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if found.year not in _YEARS:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def seconds(payload: Payload, name: str) -> int | None:
    """A sane number of seconds, None for anything else."""
    found = payload.integer(name)
    return found if found is not None and 0 <= found <= _LONGEST_CALL else None


def login(payload: Payload, name: str) -> str | None:
    """Login of an employee, without the domain that is sometimes written after it."""
    found = (payload.identifier(name) or "").split("@")[0].strip()
    return found or None


def direction_of(word: str | None) -> Direction | None:
    """`in`, `out` or the row's `missed`; None for a word that is not known."""
    return _DIRECTIONS.get((word or "").lower())


def is_internal(word: str | None, number: str | None) -> bool:
    """Calls between employees are of no interest to us."""
    return (word or "").lower() in _INTERNAL or phones.is_internal(number)


def result_of(status: str | None) -> CallResult:
    """Case and separators differ from source to source."""
    word = "".join(filter(str.isalnum, status or "")).lower()
    return _RESULTS.get(word, CallResult.UNKNOWN)


def from_contact(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`cmd=contact`: who calls? The earliest sign of an inbound call."""
    call, client = payload.required("callid"), payload.number("phone")
    if is_internal(None, client):
        return []
    return [
        _event(
            origin,
            kind=CallKind.RINGING,
            provider_call_id=call,
            direction=Direction.IN,
            client_number=client,
            line_number=payload.number("diversion"),
        )
    ]


def from_event(payload: Payload, origin: Origin) -> list[CallEvent] | None:
    """`cmd=event`: one employee's part of a call. None for a type that is not documented."""
    call, client = payload.required("callid"), payload.number("phone")
    word = (payload.text("type") or "").upper()
    if is_internal(payload.text("direction"), client):
        return []
    kind = _KINDS.get(word)
    if kind is None:
        return None
    second = payload.identifier("second_callid")
    user, extension = _employee(login(payload, "user"), payload.identifier("ext"))
    return [
        _event(
            origin,
            kind=kind,
            provider_call_id=call,
            alias_call_ids=(second,) if second and second != call else (),
            leg_id=_leg(call, user or extension),
            direction=_live_direction(word, payload.text("direction")),
            client_number=client,
            line_number=payload.number("diversion"),
            extension=extension,
            employee_key=user or extension,
            result=CallResult.ANSWERED if word == "COMPLETED" else None,
            transferred=word == "TRANSFERRED",
        )
    ]


def from_history(payload: Payload, origin: Origin) -> list[CallEvent] | None:
    """`cmd=history`: the whole call is over. None for a type that is not documented."""
    client = payload.number("phone")
    call_id, word = payload.required("callid"), payload.text("type")
    if is_internal(word, client):
        return []
    direction = direction_of(word)
    if direction is None:
        return None
    call = FinishedCall(
        call_id=call_id,
        direction=direction,
        result=result_of(payload.text("status")),
        client_number=client,
        line_number=payload.number("diversion"),
        user=login(payload, "user"),
        extension=payload.identifier("ext"),
        started_at=moment(payload.text("start")),
        wait=seconds(payload, "wait"),
        duration=seconds(payload, "duration"),
        link=payload.text("link"),
    )
    return finished(call, origin)


def finished(call: FinishedCall, origin: Origin) -> list[CallEvent]:
    """The final event and, when there is a link, one for the recording."""
    inbound = call.direction is Direction.IN
    result = call.result
    if inbound and result is CallResult.ANSWERED and (call.user or "").lower() in _NOBODY:
        result = CallResult.NO_ANSWER  # a menu or a fax talked, no employee did
    missed = inbound and result not in (CallResult.ANSWERED, CallResult.UNKNOWN)
    user, extension = _employee(call.user, call.extension)
    shared: dict[str, Any] = {
        "provider_call_id": call.call_id,
        "final": True,
        "direction": call.direction,
        "client_number": call.client_number,
        "line_number": call.line_number,
        "extension": extension,
        "employee_key": user or extension,
        "recording_url": _web_address(call.link),
    }
    times = _times(call, result is CallResult.ANSWERED, origin.durations)
    kind = CallKind.MISSED if missed else CallKind.ENDED
    events = [_event(origin, kind=kind, result=result, **shared, **times)]
    if shared["recording_url"]:
        identity = sha256(f"{call.call_id}\n{call.link}")
        ready = {"occurred_at": times["occurred_at"], "event_id": f"record:{identity}", **shared}
        events.append(_event(origin, kind=CallKind.RECORDING_READY, **ready))
    return events


def _event(origin: Origin, *, occurred_at: datetime | None = None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=origin.operator,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **{"event_id": origin.event_id, **values},
    )


def _leg(call: str, employee: str | None) -> str | None:
    if employee is None:
        return None
    text = f"{call}:{employee}"
    return text if len(text) <= MAX_ID else sha256(text)


def _employee(user: str | None, extension: str | None) -> tuple[str | None, str | None]:
    return (None if (user or "").lower() in _NOBODY else user), extension


def _live_direction(word: str, told: str | None) -> Direction | None:
    implied = {"INCOMING": Direction.IN, "OUTGOING": Direction.OUT}
    return implied.get(word) or direction_of(told)


def _web_address(link: str | None) -> str | None:
    return link if link and link.lower().startswith(("https://", "http://")) else None


def _times(call: FinishedCall, answered: bool, durations: Durations) -> dict[str, Any]:
    """`AS_TOLD` shows the number and leaves the talk of an answered call unknown."""
    told = call.duration if answered else call.duration or 0
    wait = call.wait or 0
    total = told
    talk = None if answered else 0
    if told is not None and durations is Durations.TALK:
        total, talk = wait + told, told if answered else 0
    elif told is not None and answered and durations is Durations.TOTAL and call.wait is not None:
        talk = max(0, told - call.wait)
    started = call.started_at
    ended = started + timedelta(seconds=max(total, wait)) if started and total is not None else None
    waited = started + timedelta(seconds=wait) if started and call.wait is not None else None
    return {
        "occurred_at": ended or started,
        "started_at": started,
        "answered_at": waited if answered else None,
        "ended_at": ended,
        "duration_total": total,
        "talk": talk,
    }
