"""UIS / CoMagic: notices written by a template and rows of the calls report as `CallEvent`s.

Sources: github.com/comagic/comagic.github.io (`data_api`, `interactive_call_processing`, April
2026). Notices have no reference of the operator: see `uis_templates`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

OPERATOR = "uis"

_DIRECTIONS = {
    "in": Direction.IN,
    "out": Direction.OUT,
    "incoming": Direction.IN,
    "outgoing": Direction.OUT,
    "входящий": Direction.IN,
    "исходящий": Direction.OUT,
}
_BUSY = frozenset(
    {
        "operator_busy",
        "subscriber_busy",
        "employee_busy",
        "employee_busy_after_call",
        "operator_channels_busy",
    }
)
_CANCELLED = frozenset(
    {"subscriber_disconnects", "operator_disconnects", "disconnect_before_call_processing"}
)
_NO_ANSWER = frozenset(
    {
        "timeout",
        "operator_not_responsible",
        "subscriber_not_responsible",
        "no_success_operator_call",
        "no_success_subscriber_call",
        "no_operator_confirmation",
    }
)
_FAILED = frozenset(
    {
        "no_active_scenario",
        "numa_in_black_list",
        "numa_in_spam_list",
        "group_inactive_by_schedule",
        "sip_offline",
        "max_in_call_reached",
        "no_money",
    }
)
_CLIENT = "contact_phone_number"
_LONGEST_CALL = 7 * 86_400
_LATEST_UNIX = 4102444800  # 2100-01-01: later values are milliseconds
_YEARS = range(2000, 2100)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the values themselves do not hold; `zone` is that of the account."""

    connection_id: int
    received_at: datetime
    fallback_id: str
    zone: tzinfo
    raw: str = field(repr=False)


def translate(event: str, values: Mapping[str, Any], origin: Origin) -> list[CallEvent]:
    """Events of a notice. Raises `MalformedRequest` when it does not name its call."""
    return _TRANSLATORS[event](Payload(values), origin)


def from_question(values: Mapping[str, Any], origin: Origin) -> list[CallEvent]:
    """The earliest ringing, but only under the id that other notices use: `cdr_id` is of a leg."""
    payload = Payload(values)
    if payload.text("call_session_id") is None:
        return []
    marks = {"event_id": _bounded(f"question:{payload.required('call_session_id')}")}
    return [_live(CallKind.RINGING, payload, origin, default=Direction.IN, **marks)]


def from_history(row: Payload, origin: Origin) -> list[CallEvent]:
    """A row of `get.calls_report`: the final event, then one for each recording."""
    direction = _direction(row)
    talk, lost = _duration(row, "talk_duration"), _is_set(row, "is_lost")
    answered = bool(talk) or (talk is None and lost is False)
    missed = not answered and direction is Direction.IN
    started, ended = (
        local_time(row.text(name), origin.zone) for name in ("start_time", "finish_time")
    )
    total = _duration(row, "total_duration")
    final = _event(
        origin,
        kind=CallKind.MISSED if missed else CallKind.ENDED,
        provider_call_id=row.required("id"),
        # A later report may know more (a recording): the content is part of the id.
        event_id="history:" + _sha256(row.source()),
        occurred_at=ended or started,
        final=True,
        direction=direction,
        started_at=started,
        ended_at=ended,
        answered_at=_answer(started, _duration(row, "wait_duration"), total) if talk else None,
        duration_total=total,
        talk=talk,
        result=CallResult.ANSWERED if answered else _result(row.text("finish_reason")),
        recording_url=_link(row.text("full_record_file_link")),
        crm_request_id=_short(row, "call_api_external_id"),
        transferred=_is_set(row, "is_transfer") is True,
        **_numbers(row, direction),
        **_history_employee(row, answered=answered, direction=direction),
    )
    return [final, *_history_recordings(row, final, origin)]


def local_time(text: str | None, zone: tzinfo) -> datetime | None:
    """`YYYY-MM-DD hh:mm:ss` of the account's zone as aware UTC; None for anything else."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


# Notices


def _incoming(payload: Payload, origin: Origin) -> list[CallEvent]:
    """A call came to a line; nobody's telephone rings yet."""
    call = payload.required("call_session_id")
    event_id = _bounded(f"incoming:{call}")
    return [_live(CallKind.RINGING, payload, origin, default=Direction.IN, event_id=event_id)]


def _ringing(payload: Payload, origin: Origin) -> list[CallEvent]:
    event_id = _live_id("ringing", payload, origin)
    return [_live(CallKind.RINGING, payload, origin, event_id=event_id)]


def _outgoing(payload: Payload, origin: Origin) -> list[CallEvent]:
    event_id = _live_id("outgoing", payload, origin)
    return [_live(CallKind.RINGING, payload, origin, default=Direction.OUT, event_id=event_id)]


def _answered(payload: Payload, origin: Origin) -> list[CallEvent]:
    event_id = _live_id("answered", payload, origin)
    moment = _moment(payload, origin)
    return [_live(CallKind.ANSWERED, payload, origin, event_id=event_id, answered_at=moment)]


def _talk_end(payload: Payload, origin: Origin) -> list[CallEvent]:
    """One employee has finished; the call may go on with another."""
    event_id = _live_id("talk_end", payload, origin)
    return [_live(CallKind.LEG_ENDED, payload, origin, event_id=event_id)]


def _call_end(payload: Payload, origin: Origin) -> list[CallEvent]:
    """The whole call is over: the only final record among the notices."""
    call = payload.required("call_session_id")
    direction = _direction(payload)
    talk, total = (_duration(payload, f"{name}_time_duration") for name in ("talk", "total"))
    missed = talk == 0 and direction is Direction.IN
    ended = _moment(payload, origin)
    told = local_time(payload.text("start_time"), origin.zone)
    started = told or (ended - timedelta(seconds=total) if ended and total is not None else None)
    return [
        _live(
            CallKind.MISSED if missed else CallKind.ENDED,
            payload,
            origin,
            event_id=_bounded(f"call_end:{call}"),
            final=True,
            started_at=started,
            ended_at=ended,
            answered_at=_answer(started, _duration(payload, "wait_time_duration"), total)
            if talk
            else None,
            duration_total=total,
            talk=talk,
            result=_end_result(payload, talk),
            transferred=_is_set(payload, "is_transfer") is True,
        )
    ]


def _lost(payload: Payload, origin: Origin) -> list[CallEvent]:
    """Nobody answered; the final record comes beside it."""
    event = _live(
        CallKind.MISSED,
        payload,
        origin,
        default=Direction.IN,
        event_id=_bounded(f"lost:{payload.required('call_session_id')}"),
        ended_at=_moment(payload, origin),
        result=CallResult.NO_ANSWER,
    )
    return [event]


def _record(payload: Payload, origin: Origin) -> list[CallEvent]:
    """Recordings are ready, one event for each address."""
    call = payload.required("call_session_id")
    links = [link for text in payload.texts("file_link") if (link := _link(text))]
    if not links:
        raise MalformedRequest("Нет ссылки на запись «file_link»")
    return [
        _live(
            CallKind.RECORDING_READY,
            payload,
            origin,
            event_id=_bounded(f"record:{call}:{_sha256(link)}"),
            recording_url=link,
        )
        for link in links
    ]


_TRANSLATORS: dict[str, Callable[[Payload, Origin], list[CallEvent]]] = {
    "incoming": _incoming,
    "ringing": _ringing,
    "outgoing": _outgoing,
    "answered": _answered,
    "talk_end": _talk_end,
    "call_end": _call_end,
    "lost": _lost,
    "record": _record,
}


def _event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _live(
    kind: CallKind,
    payload: Payload,
    origin: Origin,
    *,
    default: Direction | None = None,
    **values: Any,
) -> CallEvent:
    """An event with the members that all notices share."""
    direction = _direction(payload) or default
    employee = _employee(payload)
    return _event(
        origin,
        kind=kind,
        provider_call_id=payload.required("call_session_id"),
        occurred_at=_moment(payload, origin),
        # The answer lists the legs of both sides: only the employee joins it to the ringing.
        leg_id=None if employee else _short(payload, "leg_id"),
        direction=direction,
        crm_request_id=_short(payload, "external_id"),
        employee_key=employee,
        extension=_short(payload, "extension_phone_number") or employee,
        **_numbers(payload, direction),
        **values,
    )


def _live_id(event: str, payload: Payload, origin: Origin) -> str:
    """Stable over repeats; without legs the same employee may ring twice in a call."""
    legs = sorted({*payload.texts("leg_id"), *payload.texts("leg_ids")})
    told = ",".join(legs)
    employee, at = _employee(payload), _moment(payload, origin)
    if not told and employee and at:
        told = f"{employee}@{at.isoformat()}"
    if not told:
        return _bounded(f"{event}:{origin.fallback_id}")
    return _bounded(f"{event}:{payload.required('call_session_id')}:{told}")


def _end_result(payload: Payload, talk: int | None) -> CallResult:
    if talk:
        return CallResult.ANSWERED
    reason = payload.text("finish_reason")
    return CallResult.UNKNOWN if talk is None and reason is None else _result(reason)


def _result(reason: str | None) -> CallResult:
    """Of a call that nobody answered."""
    if reason is None or reason in _NO_ANSWER:
        return CallResult.NO_ANSWER
    if reason in _BUSY:
        return CallResult.BUSY
    if reason in _CANCELLED:
        return CallResult.CANCELLED
    return CallResult.FAILED if reason in _FAILED else CallResult.UNKNOWN


def _direction(payload: Payload) -> Direction | None:
    if _is_set(payload, "is_internal") or phones.is_internal(payload.number(_CLIENT)):
        return Direction.INTERNAL
    return _DIRECTIONS.get((payload.text("direction") or "").casefold())


def _numbers(payload: Payload, direction: Direction | None) -> dict[str, Any]:
    side = "called" if direction is Direction.OUT else "calling"
    names = (_CLIENT, "numa", f"{side}_phone_number")
    client = next((found for name in names if (found := payload.number(name))), None)
    outside = direction is not Direction.INTERNAL and not phones.is_internal(client)
    return {
        "client_number": client if outside else None,
        "line_number": payload.number("virtual_phone_number") or payload.number("numb"),
    }


def _employee(payload: Payload) -> str | None:
    """Id as in `get.employees`; after a transfer the one who talked last."""
    return _short(payload, "last_talked_employee_id") or _short(payload, "employee_id")


def _moment(payload: Payload, origin: Origin) -> datetime | None:
    """Unix seconds are preferred: the text has no zone."""
    seconds = payload.integer("notification_timestamp") or 0
    seconds = seconds // 1000 if seconds >= _LATEST_UNIX else seconds
    if 0 < seconds < _LATEST_UNIX:
        return datetime.fromtimestamp(seconds, UTC)
    return local_time(payload.text("notification_time"), origin.zone)


def _answer(started: datetime | None, wait: int | None, total: int | None) -> datetime | None:
    """The wait ends with the first talk, while the end of a call may follow the talk later."""
    if started is None or wait is None or (total is not None and wait > total):
        return None
    return started + timedelta(seconds=wait)


def _duration(payload: Payload, name: str) -> int | None:
    seconds = payload.integer(name)
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_CALL else None


def _is_set(payload: Payload, name: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(
        (payload.text(name) or "").casefold()
    )


def _short(payload: Payload, name: str) -> str | None:
    """An id that may be absent or nonsense without spoiling the event."""
    text = payload.text(name)
    return text if text is not None and len(text) <= MAX_ID else None


def _link(text: str | None) -> str | None:
    address = (text or "").strip()
    return address if address.startswith(("https://", "http://")) else None


def _bounded(event_id: str) -> str:
    if len(event_id) <= MAX_ID:
        return event_id
    return f"{event_id.split(':', 1)[0]}:{_sha256(event_id)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# History


def _history_employee(
    row: Payload, *, answered: bool, direction: Direction | None
) -> dict[str, Any]:
    """Who talked, else who dialled; a missed call has nobody."""
    names = ("last_talked_employee_id", "last_answered_employee_id", "first_answered_employee_id")
    found = [_short(row, name) for name in names]
    for mark in ("is_talked", "is_answered"):
        found += [
            _short(one, "employee_id") for one in row.objects("employees") if _is_set(one, mark)
        ]
    if direction is Direction.OUT:
        found += [_short(one, "employee_id") for one in row.objects("employees")]
    elif not answered:
        found = []
    employee = next(filter(None, found), None)
    return {"employee_key": employee, "extension": employee}


def _history_recordings(row: Payload, final: CallEvent, origin: Origin) -> Iterator[CallEvent]:
    """Keys of recordings; their address is made of the id of the communication and the key."""
    communication = _short(row, "communication_id") or final.provider_call_id
    for key in dict.fromkeys(row.texts("call_records")):
        yield _event(
            origin,
            kind=CallKind.RECORDING_READY,
            provider_call_id=final.provider_call_id,
            event_id=_bounded(f"record:{final.provider_call_id}:{key}"),
            occurred_at=final.occurred_at,
            recording_ref=f"{communication}/{key}",
        )
