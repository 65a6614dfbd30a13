"""Moi Zvonki: webhooks and rows of `calls.list` as `CallEvent`s.

Fields: quotations of https://www.moizvonki.ru/guide/api/ in public integrations, among them
github.com/Abb0skx/botmoizvonki, github.com/abboskhanme/BonviCall and
github.com/baxtiyorjongaziyev/oisha-os. Calls run on the employees' own telephones: there are no
extensions, an employee is known by the login, the line is the number of the SIM card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload

OPERATOR = "moizvonki"

_DIRECTIONS = {0: Direction.IN, 1: Direction.OUT}
_LONGEST_CALL = 7 * 86_400
# A telephone without a network reports later: such a call is history, not a pop-up.
_LATE = timedelta(seconds=60)
_OLDEST = timedelta(days=366)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the JSON itself does not hold; `sims` are numbers of (login, slot)."""

    connection_id: int
    received_at: datetime
    raw: str = field(repr=False)
    sims: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)


def part(value: object, name: str) -> Payload:
    """The object `webhook` or `event` of a notice. Raises `MalformedRequest`."""
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    return _payload(value.get(name))


def from_start(webhook: Payload, event: Payload, origin: Origin) -> list[CallEvent]:
    """`call.start`: the telephone rings or dials."""
    return [_live(CallKind.RINGING, webhook, event, origin)]


def from_answer(webhook: Payload, event: Payload, origin: Origin) -> list[CallEvent]:
    """`call.answer`: of an incoming call only.

    For an outgoing one the application sends it as soon as it dials, whether anybody picks up or
    not (github.com/abboskhanme/BonviCall): only `call.finish` knows.
    """
    if _DIRECTIONS.get(_code(event, "direction")) is Direction.OUT:
        return []
    return [_live(CallKind.ANSWERED, webhook, event, origin)]


def from_finish(webhook: Payload, event: Payload, origin: Origin) -> list[CallEvent]:
    """`call.finish`: the final record, then its recording when it is already uploaded."""
    employee = _employee(webhook.identifier("user_login"), event, origin)
    return _final(event, employee, _moment(event, origin), origin)


def from_row(value: object, origin: Origin) -> list[CallEvent]:
    """A row of `calls.list`. Raises `MalformedRequest`."""
    row = _payload(value)
    return _final(row, _employee(row.identifier("user_account"), row, origin), None, origin)


def _payload(value: object) -> Payload:
    """Flags as numbers and numbers without a fraction: programs differ in the types."""
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    return Payload({str(name): _plain(item) for name, item in value.items()})


def _plain(value: object) -> object:
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and isinstance(value, bool | float) else value


def _live(kind: CallKind, webhook: Payload, event: Payload, origin: Origin) -> CallEvent:
    call = event.required("event_pbx_call_id")
    return _event(
        origin,
        kind=kind,
        provider_call_id=call,
        event_id=_short(f"{kind.value}:{call}"),
        occurred_at=_moment(event, origin),
        direction=_DIRECTIONS.get(_code(event, "direction")),
        client_number=event.number("client_number"),
        **_employee(webhook.identifier("user_login"), event, origin),
    )


def _final(
    call: Payload,
    employee: Mapping[str, Any],
    told_at: datetime | None,
    origin: Origin,
) -> list[CallEvent]:
    facts = {
        "direction": _DIRECTIONS.get(_code(call, "direction")),
        "client_number": call.number("client_number"),
        **employee,
        **_times(call),
    }
    facts |= _ids(call, facts) | _outcome(call, facts)
    final = _event(
        origin,
        # The webhook and the list tell the same, so the facts are the id.
        event_id=f"final:{_sha256(json.dumps(facts, default=str))}",
        occurred_at=facts["ended_at"] or told_at or facts["started_at"],
        final=True,
        **facts,
    )
    return [final, *_recording(call, final)]


def _event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _ids(call: Payload, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The telephone's id, the server's as another name; without both one of our own."""
    on_phone, in_base = call.identifier("event_pbx_call_id"), call.identifier("db_call_id")
    server = None if in_base is None else _short(f"db:{in_base}")
    if on_phone or server:
        aliases = (server,) if on_phone and server else ()
        return {"provider_call_id": on_phone or server, "alias_call_ids": aliases}
    if facts["started_at"] is None:
        raise MalformedRequest("У звонка нет ни идентификатора, ни времени")
    names = ("client_number", "employee_key", "line_number", "direction", "started_at", "ended_at")
    made_up = _sha256(json.dumps([str(facts[name]) for name in names]))
    return {"provider_call_id": f"made-up:{made_up}", "id_is_made_up": True}


def _employee(login: str | None, call: Payload, origin: Origin) -> dict[str, Any]:
    """Login in lower case, else the SIM's number; a blank number is looked up by its slot."""
    name = login.lower() if login else None
    slot = call.text("src_slot") or ""
    line = call.number("src_number") or origin.sims.get((name or "", slot))
    return {"employee_key": name or line, "extension": name or line, "line_number": line}


def _moment(event: Payload, origin: Origin) -> datetime | None:
    """When it happened; a long `event_age` outweighs a telephone's wrong clock."""
    created, seconds = event.unix_time("event_created"), event.integer("event_age")
    if seconds is None or not 0 <= seconds <= _OLDEST.total_seconds():
        return created
    age = timedelta(seconds=seconds)
    counted = (origin.received_at - age).replace(microsecond=0)
    if created is None:
        return counted
    return min(created, counted) if age >= _LATE else created


def _times(call: Payload) -> dict[str, Any]:
    started, ended = call.unix_time("start_time"), call.unix_time("end_time")
    total = _between(started, ended)
    return {
        "started_at": started,
        "ended_at": ended,
        "duration_total": _length(call) if total is None else total,
    }


def _outcome(call: Payload, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Kind, result and talk; nobody at an incoming call's telephone is a missed call."""
    picked_up = call.unix_time("answer_time")
    talk = _between(picked_up, facts["ended_at"])
    talk = _length(call) if talk is None else talk
    answered = _is_answered(call, talk)
    missed = answered is False and facts["direction"] is Direction.IN
    results = {True: CallResult.ANSWERED, False: CallResult.NO_ANSWER}
    return {
        "kind": CallKind.MISSED if missed else CallKind.ENDED,
        "result": None if answered is None else results[answered],
        "answered_at": picked_up if answered else None,
        "talk": 0 if answered is False else talk,
    }


def _is_answered(call: Payload, talk: int | None) -> bool | None:
    """The flag, without it whether anybody talked; None when neither is told."""
    flag = call.integer("answered")
    if flag is not None:
        return flag != 0
    return None if talk is None else talk > 0


def _recording(call: Payload, final: CallEvent) -> list[CallEvent]:
    link = call.text("recording")
    if link is None:
        return []
    return [
        CallEvent(
            kind=CallKind.RECORDING_READY,
            operator=final.operator,
            connection_id=final.connection_id,
            provider_call_id=final.provider_call_id,
            id_is_made_up=final.id_is_made_up,
            alias_call_ids=final.alias_call_ids,
            event_id=f"record:{_sha256(f'{final.provider_call_id}:{link}')}",
            occurred_at=final.occurred_at,
            occurred_at_is_receipt=final.occurred_at_is_receipt,
            recording_url=link,
            raw=final.raw,
        )
    ]


def _length(call: Payload) -> int | None:
    value = call.integer("duration")
    return value if value is not None and 0 <= value <= _LONGEST_CALL else None


def _between(start: datetime | None, end: datetime | None) -> int | None:
    """Seconds, None when a moment is missing or the order is impossible."""
    if start is None or end is None:
        return None
    seconds = int((end - start).total_seconds())
    return seconds if 0 <= seconds <= _LONGEST_CALL else None


def _code(call: Payload, name: str) -> int:
    value = call.integer(name)
    return -1 if value is None else value


def _short(text: str) -> str:
    return text if len(text) <= MAX_ID else _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


Translator = Callable[[Payload, Payload, Origin], list[CallEvent]]
TRANSLATORS: dict[str, Translator] = {
    "call.start": from_start,
    "call.answer": from_answer,
    "call.finish": from_finish,
}
