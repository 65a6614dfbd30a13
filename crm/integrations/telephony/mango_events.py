"""Mango Office: JSON of its notices and of its history as `CallEvent`s."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

ACCEPTED = 1000
OPERATOR = "mango"

# Documented notices that say nothing about the state of a call.
NOISE = frozenset(
    {
        "ping",
        "events/dtmf",
        "events/sms",
        "events/record/tagged",
        "result/sms",
        "result/stat",
    }
)

_LONGEST_CALL = 7 * 86_400
# Where a recording goes; those that are only mailed cannot be fetched.
_CLOUD = ("Cloud", "CloudAndMail")
_DIRECTIONS = {0: Direction.INTERNAL, 1: Direction.IN, 2: Direction.OUT}
_HISTORY_DIRECTIONS = {1: Direction.IN, 2: Direction.OUT, 3: Direction.INTERNAL}
_RESULTS = {
    1100: CallResult.NO_ANSWER,
    1110: CallResult.CANCELLED,
    1111: CallResult.NO_ANSWER,
    1120: CallResult.NO_ANSWER,
    1121: CallResult.BUSY,
    1122: CallResult.BUSY,
    1123: CallResult.BUSY,
    1163: CallResult.NO_ANSWER,
    1164: CallResult.NO_ANSWER,
    1181: CallResult.CANCELLED,
}
_MEANINGS = {
    1111: "не ответили вовремя",
    1121: "занято",
    1122: "вызов отклонён",
    1131: "абонент недоступен",
    1133: "такого номера нет",
    3100: "неверные параметры",
    3102: "неверная подпись",
    3103: "не хватает параметра",
    3104: "неверный формат параметра",
    3105: "неверный код АТС",
    3310: "звонок не найден",
    3320: "запись не найдена",
    3330: "номер не найден",
    4001: "команда не поддерживается",
    4101: "звонок уже завершён",
    4200: "сейчас соединить нельзя",
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the JSON itself does not hold."""

    connection_id: int
    received_at: datetime
    fallback_id: str
    raw: str = field(repr=False)


def meaning(code: int) -> str:
    """A result code in Russian words."""
    if 2000 <= code < 3000:
        return "ограничение лицевого счёта"
    if 5000 <= code < 6000:
        return "ошибка сервера оператора"
    return _MEANINGS.get(code, "причина не описана")


def from_call(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`events/call`: one leg changed its state; holds and menus answering change nothing for us."""
    kind = _live_kind(payload)
    if kind is None:
        return []
    leg = payload.required("call_id")
    sequence = payload.integer("seq")
    direction = _live_direction(payload)
    return [
        _event(
            origin,
            kind=kind,
            provider_call_id=payload.required("entry_id"),
            event_id=_event_id(origin, "call", leg, sequence),
            occurred_at=payload.unix_time("timestamp"),
            leg_id=leg,
            sequence=sequence,
            direction=direction,
            line_number=payload.number("to.line_number"),
            crm_request_id=payload.identifier("command_id"),
            transferred=_transferred(payload),
            **_parties(payload, direction, payload.number("to.line_number")),
            **_live_times(kind, payload),
        )
    ]


def from_summary(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`events/summary`: the whole call is over."""
    entry = payload.required("entry_id")
    direction = _summary_direction(payload)
    answered = payload.integer("entry_result") == 1
    started, talk_from, ended = (
        payload.unix_time(name) for name in ("create_time", "talk_time", "end_time")
    )
    missed = not answered and direction is Direction.IN
    return [
        _event(
            origin,
            kind=CallKind.MISSED if missed else CallKind.ENDED,
            provider_call_id=entry,
            event_id=_event_id(origin, "summary", entry, 0),
            occurred_at=ended,
            final=True,
            direction=direction,
            line_number=payload.number("line_number"),
            started_at=started,
            answered_at=talk_from,
            ended_at=ended,
            duration_total=_seconds(started, ended),
            talk=_seconds(talk_from, ended) if talk_from else 0,
            result=CallResult.ANSWERED if answered else _result(payload),
            **_parties(payload, direction, payload.number("line_number")),
        )
    ]


def from_recording(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`events/record/added`: the file is in the cloud."""
    return [_recorded(payload, origin, "record")]


def from_recording_state(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`events/recording`: a completed recording on its way to the cloud.

    `events/record/added` follows when it has arrived; where that notice is lost this one is enough,
    for the first try comes later and a file that is not there yet is asked for again.
    """
    whole = payload.integer("completion_code") in (None, ACCEPTED)
    kept = payload.text("recipient") in (None, *_CLOUD)
    if payload.text("recording_state") != "Completed" or not whole or not kept:
        return []
    return [_recorded(payload, origin, "recording")]


def _recorded(payload: Payload, origin: Origin, notice: str) -> CallEvent:
    recording = payload.required("recording_id")
    return _event(
        origin,
        kind=CallKind.RECORDING_READY,
        provider_call_id=payload.required("entry_id"),
        event_id=_event_id(origin, notice, recording, 0),
        occurred_at=payload.unix_time("timestamp"),
        recording_ref=recording,
    )


def from_callback_result(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`result/callback`: a failed click-to-call; a success is told by the call's own events."""
    code = payload.integer("result")
    command = payload.required("command_id")
    if code == ACCEPTED:
        return []
    return [
        _event(
            origin,
            kind=CallKind.ENDED,
            provider_call_id=payload.identifier("entry_id") or "",
            event_id=_event_id(origin, "callback", command, 0),
            occurred_at=None,
            direction=Direction.OUT,
            result=_RESULTS.get(code or 0, CallResult.FAILED),
            crm_request_id=command,
        )
    ]


def from_history(row: Payload, origin: Origin) -> list[CallEvent]:
    """A call of `stats/calls/result`: the final event, then one for each recording."""
    direction = _HISTORY_DIRECTIONS.get(row.integer("context_type") or 0)
    answered = row.integer("context_status") == 1
    inbound = direction is Direction.IN
    final = _event(
        origin,
        kind=CallKind.MISSED if inbound and not answered else CallKind.ENDED,
        provider_call_id=row.required("entry_id"),
        # A later export may know more (a recording): the content is part of the id.
        event_id="history:" + _sha256(row.source()),
        final=True,
        direction=direction,
        client_number=_history_client(row, direction),
        line_number=row.number("called_number") if inbound else None,
        result=CallResult.ANSWERED if answered else _history_result(row),
        **_history_times(row),
        **_history_employee(row, direction),
    )
    return [final, *_history_recordings(row, final, origin)]


Translator = Callable[[Payload, Origin], list[CallEvent]]
TRANSLATORS: dict[str, Translator] = {
    "events/call": from_call,
    "events/summary": from_summary,
    "events/recording": from_recording_state,
    "events/record/added": from_recording,
    "result/callback": from_callback_result,
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


def _event_id(origin: Origin, notice: str, identity: str, sequence: int | None) -> str:
    text = f"{notice}:{identity}:{sequence}"
    if sequence is None:
        return origin.fallback_id
    return text if len(text) <= MAX_ID else f"{notice}:{_sha256(text)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _live_kind(payload: Payload) -> CallKind | None:
    """None for states that do not move a call: on hold, or a menu that "answered"."""
    state = payload.text("call_state")
    with_employee = payload.text("location") == "abonent"
    if state == "Appeared":
        return CallKind.RINGING
    if state == "Connected":
        if _is_by_command(payload) and payload.text("to.extension"):
            # Who has asked for the call picked up; the client is called only now [I].
            return CallKind.RINGING
        return CallKind.ANSWERED if with_employee else None
    if state == "Disconnected":
        return CallKind.LEG_ENDED
    return None if state == "OnHold" else CallKind.UNKNOWN


def _is_by_command(payload: Payload) -> bool:
    """Whether the leg was made by a command and not by somebody's telephone."""
    return bool(payload.text("callback_initiator") or payload.text("command_id"))


def _live_direction(payload: Payload) -> Direction | None:
    """None for legs made by a command or a transfer: there only the summary tells."""
    caller, callee = payload.text("from.extension"), payload.text("to.extension")
    if _is_by_command(payload):
        return None
    if caller and callee:
        return None if _transferred(payload) else Direction.INTERNAL
    if caller:
        return Direction.OUT if _outside(payload.number("to.number")) else None
    return Direction.IN


def _summary_direction(payload: Payload) -> Direction | None:
    """None when the code contradicts the parties: an inbound call is not started by an employee."""
    direction = _DIRECTIONS.get(_known(payload.integer("call_direction")))
    by_employee = payload.text("from.extension") is not None
    if direction is Direction.IN and by_employee and payload.text("to.extension") is None:
        return None
    return direction


def _parties(payload: Payload, direction: Direction | None, line: str | None) -> dict[str, Any]:
    """The client is the side without an extension, the employee the one with it."""
    caller, callee = (
        payload.identifier("from.extension"),
        payload.identifier("to.extension"),
    )
    side = "to" if direction is Direction.OUT or (caller and not callee) else "from"
    client = payload.number(f"{side}.number")
    outside = direction is not Direction.INTERNAL and not (caller and callee)
    extension = caller if side == "to" and caller else callee or caller
    return {
        "client_number": client if outside and _outside(client) and client != line else None,
        "extension": extension,
        "employee_key": extension,
    }


def _outside(number: str | None) -> bool:
    return number is not None and not phones.is_internal(number)


def _transferred(payload: Payload) -> bool:
    marks = (payload.text("transfer"), payload.text("from.taken_from_call_id"))
    both = payload.text("from.extension") and payload.text("to.extension")
    return bool(marks[0] or (marks[1] and both))


def _live_times(kind: CallKind, payload: Payload) -> dict[str, Any]:
    if kind is CallKind.ANSWERED:
        return {"answered_at": payload.unix_time("timestamp")}
    return {}


def _result(payload: Payload) -> CallResult:
    code = payload.integer("disconnect_reason")
    return _RESULTS.get(code or 0, CallResult.FAILED if code else CallResult.UNKNOWN)


def _seconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return max(0, int((end - start).total_seconds()))


def _known(code: int | None) -> int:
    return -1 if code is None else code


def _history_client(row: Payload, direction: Direction | None) -> str | None:
    if direction is Direction.INTERNAL:
        return None
    return row.number("called_number" if direction is Direction.OUT else "caller_number")


def _legs(row: Payload) -> Iterator[Payload]:
    """Legs with the members of groups among them."""
    for leg in row.objects("context_calls"):
        yield leg
        yield from leg.objects("members")


def _history_times(row: Payload) -> dict[str, Any]:
    """The answer is counted back from the end: in an outgoing call two legs are "answered"."""
    started, total = row.unix_time("context_start_time"), row.integer("duration")
    talk = row.integer("talk_duration") or 0
    known = started is not None and total is not None and 0 <= talk <= total <= _LONGEST_CALL
    ended = started + timedelta(seconds=total) if known and started and total is not None else None
    return {
        "occurred_at": ended or started,
        "started_at": started,
        "ended_at": ended,
        "answered_at": ended - timedelta(seconds=talk) if ended and talk else None,
        "duration_total": total,
        "talk": talk,
    }


def _history_result(row: Payload) -> CallResult:
    codes = [code for leg in _legs(row) if (code := leg.integer("call_end_reason"))]
    return _RESULTS.get(codes[-1], CallResult.FAILED) if codes else CallResult.NO_ANSWER


def _history_employee(row: Payload, direction: Direction | None) -> dict[str, Any]:
    """Who talked: the answered leg of a user, or the caller of an outgoing call."""
    legs = [leg for leg in _legs(row) if leg.text("call_type") == "user"]
    leg = next((leg for leg in legs if leg.unix_time("call_answer_time")), None)
    numbers = [leg.number("call_abonent_number") if leg else None]
    if direction is Direction.OUT:
        numbers.append(row.number("caller_number"))
    extension = next((number for number in numbers if phones.is_internal(number)), None)
    return {
        "extension": extension,
        "employee_key": extension or (leg.identifier("call_abonent_id") if leg else None),
    }


def _history_recordings(row: Payload, final: CallEvent, origin: Origin) -> list[CallEvent]:
    ids = dict.fromkeys(item for leg in _legs(row) for item in leg.texts("recording_id"))
    return [
        _event(
            origin,
            kind=CallKind.RECORDING_READY,
            provider_call_id=final.provider_call_id,
            event_id=_event_id(origin, "record", item, 0),
            occurred_at=final.occurred_at,
            recording_ref=item,
        )
        for item in ids
    ]
