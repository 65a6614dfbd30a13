"""Zadarma and Novofon: fields of notices and rows of the PBX statistics as `CallEvent`s.

Sources: github.com/zadarma/user-api-v1 (lib/Webhook) and github.com/zadarma/openapi; what no
document of the operator names was seen by github.com/VladSh77/zadarma-odoo.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

OPERATOR = "zadarma"
START = "NOTIFY_START"

_BY_LINE = ("caller_id", "called_did", "call_start")
_BY_EMPLOYEE = ("internal", "destination", "call_start")
# Fields whose values, joined, are signed.
SIGNED: dict[str, tuple[str, ...]] = {
    START: _BY_LINE,
    "NOTIFY_INTERNAL": _BY_LINE,
    "NOTIFY_ANSWER": ("caller_id", "destination", "call_start"),
    "NOTIFY_END": _BY_LINE,
    "NOTIFY_OUT_START": _BY_EMPLOYEE,
    "NOTIFY_OUT_END": _BY_EMPLOYEE,
    "NOTIFY_RECORD": ("pbx_call_id", "call_id_with_rec"),
    "NOTIFY_IVR": _BY_LINE,
}
# Keys pressed in a menu, and a notice that no document names.
NOISE = frozenset({"NOTIFY_IVR", "NOTIFY_INTERNAL_END"})

_INBOUND_ID, _OUTBOUND_ID = "in_", "out_"
# The employee's part of a call that the CRM ordered ends by itself; the client's part follows.
_EMPLOYEE_PART = "callback_leg1"
_ANSWERED = "answered"
_RESULTS = {
    _ANSWERED: CallResult.ANSWERED,
    "busy": CallResult.BUSY,
    "cancel": CallResult.CANCELLED,
    "no answer": CallResult.NO_ANSWER,
}
_ZONE = re.compile(r"(?:UTC|GMT)(?:([+-])(\d{1,2})(?::?([0-5]\d))?)?", re.IGNORECASE)
# An extension, alone or behind the number of its PBX (`123456-101`).
_EXTENSION = re.compile(r"(?:\d+-)?(\d{3,5})", re.ASCII)
_YEARS = range(2000, 2100)
_LONGEST_CALL = 7 * 86_400
_QUARTER = 900
# Rows of one call lie no further from each other in the statistics.
_SPREAD = timedelta(hours=3)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the fields themselves do not hold; `zone` and `lines` (digits) are the account's."""

    connection_id: int
    received_at: datetime
    fallback_id: str
    zone: timezone
    raw: str = field(repr=False)
    lines: Callable[[], Collection[str]] = tuple


def zone_of(text: str | None) -> timezone | None:
    """`UTC+3` of the account's settings as a zone, None when it is not understood."""
    match = _ZONE.fullmatch((text or "").replace(" ", ""))
    if match is None or int(match[2] or 0) > 14:
        return None
    offset = timedelta(hours=int(match[2] or 0), minutes=int(match[3] or 0))
    return timezone(-offset if match[1] == "-" else offset)


def account_zone(answer: Payload) -> timezone | None:
    """Zone of `info/timezone`: as named, else what the two spellings of "now" differ by."""
    named = zone_of(answer.text("timezone"))
    local, now = _moment(answer, "datetime", UTC), answer.integer("unixtime")
    if named is not None or local is None or now is None:
        return named
    quarters = round((local.timestamp() - now) / _QUARTER)
    return timezone(timedelta(seconds=quarters * _QUARTER)) if abs(quarters) <= 56 else None


def is_call_id(identity: str) -> bool:
    """Whether it is the id of a whole call, not of one recorded part."""
    return identity.startswith((_INBOUND_ID, _OUTBOUND_ID))


def from_start(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_START`: a call reached the PBX; the only notice whose own time is told."""
    started = _moment(payload, "call_start", origin.zone)
    return [_notice(payload, origin, CallKind.RINGING, at=started, **_inbound(payload))]


def from_internal(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_INTERNAL`: an extension rings."""
    return [_notice(payload, origin, CallKind.RINGING, **_inbound(payload))]


def from_answer(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_ANSWER`: an employee answered, in an outgoing call the client.

    A scenario or a menu as the one who answered is nobody of the agency.
    """
    outgoing = _direction(payload, "caller_id") is Direction.OUT
    parties = _outbound(payload) if outgoing else _answered_inbound(payload)
    by_person = parties["extension"] is not None or _outside(payload, "destination") is not None
    if not outgoing and not by_person:
        return []
    return [_notice(payload, origin, CallKind.ANSWERED, **parties)]


def from_end(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_END`: an inbound call is over.

    A menu that takes a message "answers" too, without `internal`: that is a missed call, and an
    answer outside the PBX has its own `NOTIFY_ANSWER`.
    """
    told = _disposition(payload)
    seconds = _seconds(payload, "duration")
    by_menu = told == _ANSWERED and _extension(payload, "internal") is None
    missed = told is not None and (told != _ANSWERED or by_menu)
    return [
        _notice(
            payload,
            origin,
            CallKind.MISSED if missed else CallKind.ENDED,
            final=True,
            result=CallResult.NO_ANSWER if by_menu else _result(told),
            talk=None if by_menu else _talk(told, seconds),
            duration_total=seconds if by_menu else None,
            recording_ref=_recording(payload),
            **_inbound(payload),
        )
    ]


def from_out_start(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_OUT_START`: an employee calls out."""
    started = _moment(payload, "call_start", origin.zone)
    return [_notice(payload, origin, CallKind.RINGING, at=started, **_outbound(payload))]


def from_out_end(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_OUT_END`: an outgoing call is over."""
    if payload.text("calltype") == _EMPLOYEE_PART:
        return []
    told = _disposition(payload)
    return [
        _notice(
            payload,
            origin,
            CallKind.ENDED,
            final=True,
            result=_result(told),
            talk=_talk(told, _seconds(payload, "duration")),
            recording_ref=_recording(payload),
            **_outbound(payload),
        )
    ]


def from_record(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`NOTIFY_RECORD`: a part of a call was recorded; the file comes up later."""
    part = payload.required("call_id_with_rec")
    return [_notice(payload, origin, CallKind.RECORDING_READY, recording_ref=part)]


Translator = Callable[[Payload, Origin], list[CallEvent]]
TRANSLATORS: dict[str, Translator] = {
    START: from_start,
    "NOTIFY_INTERNAL": from_internal,
    "NOTIFY_ANSWER": from_answer,
    "NOTIFY_END": from_end,
    "NOTIFY_OUT_START": from_out_start,
    "NOTIFY_OUT_END": from_out_end,
    "NOTIFY_RECORD": from_record,
}


# Notices


def _notice(
    payload: Payload, origin: Origin, kind: CallKind, *, at: datetime | None = None, **values: Any
) -> CallEvent:
    """`call_start` is the same in all notices of a call: it starts the call, not the event."""
    part = payload.identifier("call_id_with_rec")
    return CallEvent(
        kind=kind,
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=payload.identifier("pbx_call_id") or "",
        event_id=_event_id(payload, origin),
        occurred_at=at or origin.received_at,
        occurred_at_is_receipt=at is None,
        alias_call_ids=(part,) if part else (),
        started_at=_moment(payload, "call_start", origin.zone),
        raw=origin.raw,
        **values,
    )


def _event_id(payload: Payload, origin: Origin) -> str:
    if payload.text("pbx_call_id") is None:
        return origin.fallback_id
    names = ("event", "pbx_call_id", "internal", "call_id_with_rec")
    text = ":".join(payload.text(name) or "" for name in names)
    return text if len(text) <= MAX_ID else _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _inbound(payload: Payload) -> dict[str, Any]:
    extension = _extension(payload, "internal")
    return {
        "direction": Direction.IN,
        "client_number": payload.number("caller_id"),
        "line_number": payload.number("called_did"),
        "extension": extension,
        "employee_key": extension,
    }


def _answered_inbound(payload: Payload) -> dict[str, Any]:
    """Here is no line; `destination` names the extension when `internal` does not."""
    extension = _extension(payload, "internal") or _short_extension(payload, "destination")
    return {
        "direction": _direction(payload, "caller_id"),
        "client_number": _outside(payload, "caller_id"),
        "extension": extension,
        "employee_key": extension,
    }


def _outbound(payload: Payload) -> dict[str, Any]:
    """The line is what the client sees; an extension as destination makes an internal call."""
    destination, extension = payload.number("destination"), _extension(payload, "internal")
    between_employees = phones.is_internal(destination)
    line = _outside(payload, "caller_id")
    return {
        "direction": Direction.INTERNAL if between_employees else Direction.OUT,
        "client_number": None if between_employees else destination,
        "line_number": line if line != destination else None,
        "extension": extension,
        "employee_key": extension,
    }


def _direction(payload: Payload, caller: str) -> Direction | None:
    """By the prefix of the call's id, else by which side is an extension."""
    identity = payload.text("pbx_call_id") or ""
    if is_call_id(identity):
        return Direction.IN if identity.startswith(_INBOUND_ID) else Direction.OUT
    by_employee = phones.is_internal(payload.number(caller))
    to_employee = phones.is_internal(payload.number("destination"))
    if by_employee:
        return Direction.INTERNAL if to_employee else Direction.OUT
    return Direction.IN if to_employee else None


def _extension(payload: Payload, name: str) -> str | None:
    """Extension as the CRM knows it; a spelling we do not know stays as it is."""
    text = payload.identifier(name)
    match = _EXTENSION.fullmatch(text or "")
    return match[1] if match else text


def _short_extension(payload: Payload, name: str) -> str | None:
    """Extension of three to five digits; None for scenarios (`0-1`) and telephone numbers."""
    match = _EXTENSION.fullmatch(payload.text(name) or "")
    return match[1] if match else None


def _outside(payload: Payload, name: str) -> str | None:
    number = payload.number(name)
    return None if phones.is_internal(number) else number


def _disposition(payload: Payload) -> str | None:
    text = payload.text("disposition")
    return text.lower() if text else None


def _result(disposition: str | None) -> CallResult | None:
    """None when not told; no money, limits and unknown numbers are failures."""
    return _RESULTS.get(disposition, CallResult.FAILED) if disposition else None


def _talk(disposition: str | None, seconds: int | None) -> int | None:
    if disposition is None:
        return None
    return seconds if disposition == _ANSWERED else 0


def _seconds(payload: Payload, name: str) -> int | None:
    seconds = payload.integer(name)
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_CALL else None


def _recording(payload: Payload) -> str | None:
    """Id of the recorded part, else of the whole call, whose recordings can be asked for too."""
    if not _is_recorded(payload):
        return None
    return payload.identifier("call_id_with_rec") or payload.identifier("pbx_call_id")


def _is_recorded(payload: Payload) -> bool:
    return payload.text("is_recorded") in ("1", "true")


def _moment(payload: Payload, name: str, zone: timezone) -> datetime | None:
    """Text in the account's zone as UTC; None when it is absent or unreadable."""
    try:
        moment = datetime.fromisoformat(payload.text(name) or "")
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


# Statistics


def grouped(pages: Iterable[list[Payload]]) -> Iterator[list[Payload]]:
    """Rows of one call together; a call near the end of a page waits for the next page.

    Raises `MalformedRequest` for a row without a time.
    """
    waiting: dict[str, list[Payload]] = {}
    for page in pages:
        for row in page:
            waiting.setdefault(_call_of(row), []).append(row)
        edge = _row_start(page[-1], UTC) if page else None
        for identity in list(waiting):
            if edge is not None and not _is_near(waiting[identity], edge):
                yield waiting.pop(identity)
    yield from waiting.values()


def from_history(rows: list[Payload], origin: Origin) -> CallEvent:
    """The final event of a call by all its rows (menu, each extension).

    Raises `MalformedRequest`.
    """
    rows = sorted(rows, key=lambda row: _row_start(row, origin.zone))
    direction = _row_direction(rows)
    talked = [row for row in rows if _is_talk(row, direction, origin)]
    ended = max(_row_end(row, origin.zone) for row in rows)
    missed = direction is Direction.IN and not talked
    known = rows[0].identifier("pbx_call_id")
    parts = [part for row in rows if (part := row.identifier("call_id"))]
    return CallEvent(
        kind=CallKind.MISSED if missed else CallKind.ENDED,
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=known or rows[0].required("call_id"),
        # A later export may know more (a recording): the content is part of the id.
        event_id="history:" + _sha256("\n".join(sorted(row.source() for row in rows))),
        occurred_at=ended,
        final=True,
        id_is_made_up=known is None,
        alias_call_ids=tuple(dict.fromkeys(parts)),
        started_at=_row_start(rows[0], origin.zone),
        talk=max((_seconds(row, "seconds") or 0 for row in talked), default=0),
        result=CallResult.ANSWERED if talked else _row_result(rows, direction),
        recording_ref=_row_recording(rows, talked),
        raw=origin.raw,
        **_row_parties(rows, talked, direction),
    )


def _call_of(row: Payload) -> str:
    return row.identifier("pbx_call_id") or row.required("call_id")


def _row_start(row: Payload, zone: timezone) -> datetime:
    start = _moment(row, "callstart", zone)
    if start is None:
        raise MalformedRequest("Нет времени начала звонка")
    return start


def _row_end(row: Payload, zone: timezone) -> datetime:
    """At least the end: the time of ringing is not told."""
    return _row_start(row, zone) + timedelta(seconds=_seconds(row, "seconds") or 0)


def _is_near(rows: list[Payload], edge: datetime) -> bool:
    return any(abs(_row_start(row, UTC) - edge) <= _SPREAD for row in rows)


def _row_direction(rows: list[Payload]) -> Direction | None:
    """An outgoing call whose every destination is an extension never left the PBX."""
    direction = _direction(rows[0], "clid")
    if direction is Direction.OUT and all(
        phones.is_internal(row.number("destination")) for row in rows
    ):
        return Direction.INTERNAL
    return direction


def _is_talk(row: Payload, direction: Direction | None, origin: Origin) -> bool:
    """Whether somebody talked: an "answer" of a menu, or of the employee who calls, is none.

    How the row of a menu names itself is not documented: one of our own lines is nobody.
    """
    if _disposition(row) != _ANSWERED:
        return False
    outside = _outside(row, "destination")
    if direction is Direction.OUT:
        return outside is not None
    if _row_extension(row, direction) is not None:
        return True
    return outside is not None and outside not in origin.lines()


def _row_extension(row: Payload, direction: Direction | None) -> str | None:
    names = ("sip", "clid") if direction is Direction.OUT else ("destination", "sip")
    found = (_short_extension(row, name) for name in names)
    return next((extension for extension in found if extension), None)


def _row_result(rows: list[Payload], direction: Direction | None) -> CallResult | None:
    """How the last part ended, outgoing the client's; nobody talked, whatever a menu says."""
    to_client = [row for row in rows if _outside(row, "destination")]
    parts = (to_client or rows) if direction is Direction.OUT else rows
    result = _result(_disposition(parts[-1]))
    return CallResult.NO_ANSWER if result is CallResult.ANSWERED else result


def _row_recording(rows: list[Payload], talked: list[Payload]) -> str | None:
    """The last recorded part with a talk, else the last recorded one."""
    recorded = [row for row in (*rows, *talked) if _is_recorded(row)]
    if not recorded:
        return None
    return recorded[-1].identifier("call_id") or recorded[-1].identifier("pbx_call_id")


def _row_parties(
    rows: list[Payload], talked: list[Payload], direction: Direction | None
) -> dict[str, Any]:
    """There is no line in the statistics."""
    client = "destination" if direction is Direction.OUT else "clid"
    numbers = (_named_number(row, client) for row in rows)
    extensions = (_row_extension(row, direction) for row in (*reversed(talked), *reversed(rows)))
    extension = next((found for found in extensions if found), None)
    outside = None if direction is Direction.INTERNAL else next(filter(None, numbers), None)
    return {
        "direction": direction,
        "client_number": outside,
        "extension": extension,
        "employee_key": extension,
    }


def _named_number(row: Payload, name: str) -> str | None:
    """Number of an outside party, also when written after a name: `Anna <79031234567>`."""
    text = row.text(name) or ""
    number = Payload({name: text.rpartition("<")[2]}).number(name)
    return None if phones.is_internal(number) else number
