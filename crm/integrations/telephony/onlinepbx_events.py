"""OnlinePBX: fields of its webhooks and records of its history as `CallEvent`s.

Sources: the first half of the operator's page
https://kb.onlinepbx.ru/confluence/pages/viewpage.action?pageId=27591028; the rest is what
github.com/animetrity/onlinepbx-telephony and
github.com/Hostlife22/AmoCrm-and-OnlinePBX-integration read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.inbound import InboundRequest, MalformedRequest, load_json
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

OPERATOR = "onlinepbx"

_LONGEST_CALL = 7 * 86_400
_DIRECTIONS = {
    "inbound": Direction.IN,
    "outbound": Direction.OUT,
    "local": Direction.INTERNAL,
}
_BUSY = frozenset({"USER_BUSY", "CALL_REJECTED"})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the fields themselves do not hold.

    `finds_recordings`: look for the recording of a call of the history, which never names one.
    """

    connection_id: int
    received_at: datetime
    raw: str = field(repr=False)
    finds_recordings: bool = False


def fields_of(request: InboundRequest) -> Payload:
    """Fields of a JSON or form body: both are met. Raises `MalformedRequest`."""
    if request.body.lstrip()[:1] in (b"{", b"[", b"\xef"):
        return Payload(load_json(request.text().removeprefix("\ufeff")))
    return Payload(request.form())


def secured(link: str) -> str:
    """The operator writes `http` though its files are served by `https` too."""
    return "https" + link[4:] if link[:7].lower() == "http://" else link


def from_ringing(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`call_start`, `call_user_start`: the call was made, an extension rings."""
    return [_notice(payload, origin, CallKind.RINGING)]


def from_answered(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`call_answered`: somebody took the call.

    Whether a menu on the line "answers" too is not documented: without an extension the end of the
    inbound call tells whether there was a talk.
    """
    event = _notice(payload, origin, CallKind.ANSWERED, answered_at=payload.unix_time("date"))
    by_menu = event.direction is Direction.IN and event.extension is None
    return [] if by_menu else [event]


def from_end(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`call_end`: the whole call is over; with a talk also its recording, by a link that dies.

    `call_missed` is read alike; nobody talked then, whatever is not told.
    """
    talk = _seconds(payload, "dialog_duration")
    if payload.text("event") == "call_missed" and not talk:
        talk = 0
    parties = _parties(payload)
    missed = talk == 0 and parties["direction"] is Direction.IN
    over = _notice(
        payload,
        origin,
        CallKind.MISSED if missed else CallKind.ENDED,
        final=True,
        ended_at=payload.unix_time("date"),
        duration_total=_seconds(payload, "call_duration"),
        talk=talk,
        result=_result(talk, payload),
    )
    link = payload.text("download_url")
    return [over, _recording(over, secured(link))] if talk and link else [over]


def from_history(row: Payload, origin: Origin) -> CallEvent:
    """A record of `mongo_history/search`: the final event. Raises `MalformedRequest`."""
    uuid = row.required("uuid")
    talk, total = _seconds(row, "user_talk_time"), _seconds(row, "duration")
    started, ended = row.unix_time("start_stamp"), row.unix_time("end_stamp")
    if started is None:
        raise MalformedRequest("Нет времени начала звонка")
    if ended is None and total is not None:
        ended = started + timedelta(seconds=total)
    direction = _direction(row, "accountcode", "caller_id_number", "destination_number")
    missed = direction is Direction.IN and talk == 0
    return CallEvent(
        kind=CallKind.MISSED if missed else CallKind.ENDED,
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=uuid,
        # A later export may know more: the content is part of the id.
        event_id="history:" + _sha256(row.source()),
        occurred_at=ended or started,
        final=True,
        direction=direction,
        line_number=row.number("gateway"),
        started_at=started,
        ended_at=ended,
        duration_total=total,
        talk=talk,
        result=_result(talk, row),
        recording_ref=uuid if talk and origin.finds_recordings else None,
        raw=origin.raw,
        **_row_parties(row, direction),
        **_row_answer(row, talk, ended),
    )


Translator = Callable[[Payload, Origin], list[CallEvent]]
TRANSLATORS: dict[str, Translator] = {
    "call_start": from_ringing,
    "call_user_start": from_ringing,
    "call_answered": from_answered,
    "call_end": from_end,
    "call_missed": from_end,
}


def _notice(payload: Payload, origin: Origin, kind: CallKind, **values: Any) -> CallEvent:
    occurred = payload.unix_time("date")
    return CallEvent(
        kind=kind,
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=payload.required("uuid"),
        event_id=_event_id(payload),
        occurred_at=occurred or origin.received_at,
        occurred_at_is_receipt=occurred is None,
        line_number=payload.number("gateway"),
        raw=origin.raw,
        **_parties(payload),
        **values,
    )


def _recording(over: CallEvent, link: str) -> CallEvent:
    return CallEvent(
        kind=CallKind.RECORDING_READY,
        operator=OPERATOR,
        connection_id=over.connection_id,
        provider_call_id=over.provider_call_id,
        event_id=_short("record:" + over.provider_call_id),
        occurred_at=over.occurred_at,
        occurred_at_is_receipt=over.occurred_at_is_receipt,
        extension=over.extension,
        employee_key=over.employee_key,
        recording_ref=over.provider_call_id,
        recording_url=link,
        recording_url_temporary=True,
        raw=over.raw,
    )


def _event_id(payload: Payload) -> str:
    """One uuid serves the whole call: the parties and the time tell its notices apart."""
    names = ("event", "uuid", "caller", "callee", "date")
    return _short(":".join(payload.text(name) or "" for name in names))


def _short(text: str) -> str:
    return text if len(text) <= MAX_ID else _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _parties(payload: Payload) -> dict[str, Any]:
    direction = _direction(payload, "direction", "caller", "callee")
    return {"direction": direction, **_sides(payload, direction, "caller", "callee")}


def _direction(payload: Payload, name: str, caller: str, callee: str) -> Direction | None:
    """As told, else by which side is an extension."""
    told = _DIRECTIONS.get((payload.text(name) or "").lower())
    if told is not None:
        return told
    by_employee = phones.is_internal(payload.number(caller))
    to_employee = phones.is_internal(payload.number(callee))
    if by_employee:
        return Direction.INTERNAL if to_employee else Direction.OUT
    return Direction.IN if payload.number(caller) else None


def _sides(
    payload: Payload, direction: Direction | None, caller: str, callee: str
) -> dict[str, Any]:
    """Who of the two is the client and who the employee; a line or a queue is nobody."""
    client, employee = (callee, caller) if direction is Direction.OUT else (caller, callee)
    number = payload.number(employee)
    extension = number if phones.is_internal(number) else None
    return {
        "client_number": None if direction is Direction.INTERNAL else payload.number(client),
        "extension": extension,
        "employee_key": extension,
    }


def _seconds(payload: Payload, name: str) -> int | None:
    seconds = payload.integer(name)
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_CALL else None


def _result(talk: int | None, payload: Payload) -> CallResult | None:
    if talk:
        return CallResult.ANSWERED
    if talk is None:
        return None
    busy = (payload.text("hangup_cause") or "").upper() in _BUSY
    return CallResult.BUSY if busy else CallResult.NO_ANSWER


def _row_parties(row: Payload, direction: Direction | None) -> dict[str, Any]:
    """The destination may be a line or a queue: who answered is among the steps of the call."""
    sides = _sides(row, direction, "caller_id_number", "destination_number")
    if direction is not Direction.IN:
        return sides
    extension = next((step.number("number") for step in _answered_steps(row)), sides["extension"])
    return {**sides, "extension": extension, "employee_key": extension}


def _row_answer(row: Payload, talk: int | None, ended: datetime | None) -> dict[str, Any]:
    """When the talk began: as told by the step that answered, else counted back from the end."""
    if not talk:
        return {}
    counted = ended - timedelta(seconds=talk) if ended else None
    told = next((step.unix_time("answered_stamp") for step in _answered_steps(row)), None)
    return {"answered_at": told or counted}


def _answered_steps(row: Payload) -> list[Payload]:
    """Steps of the call that an extension answered, users before menus, the last first."""
    steps = [
        step
        for step in reversed(row.objects("events"))
        if step.unix_time("answered_stamp") and phones.is_internal(step.number("number"))
    ]
    return sorted(steps, key=lambda step: "user" not in (step.text("type") or "").lower())
