"""Gravitel (current API): JSON of its notices and of its history as `CallEvent`s.

The operator publishes no document. Fields: github.com/izhislin/LLM_GR (`src/web/routes/webhook.py`,
`tests/test_web`), github.com/Sile9t/GravitelBitrixMediator (`Models/Dtos/Gravitel`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

OPERATOR = "gravitel"

_LONGEST_CALL = 7 * 86_400
_DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT, "internal": Direction.INTERNAL}
# `released` says neither whether anybody talked nor whether another employee still rings:
# the end and its outcome are told by `history`, which follows at once.
_STAGES = {
    "alerting": CallKind.RINGING,
    "talking": CallKind.ANSWERED,
    "released": CallKind.LEG_ENDED,
}
_RESULTS = {
    "success": CallResult.ANSWERED,
    "missed": CallResult.NO_ANSWER,
    "not_available": CallResult.FAILED,
    "forbidden": CallResult.FAILED,
    "busy": CallResult.BUSY,
}
# Names of a row of the history list → names of the notice `history`.
_ROW_NAMES = {
    "type": "direction",
    "account": "extension",
    "via": "phone",
    "start": "when",
    "wait": "provision",
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the JSON itself does not hold."""

    connection_id: int
    received_at: datetime
    raw: str = field(repr=False)


def fields(value: object) -> Payload:
    """Members of a notice under lower-case names: running programs differ in their case.

    Raises `MalformedRequest`.
    """
    return Payload(_members(value))


def row_fields(value: object) -> Payload:
    """A row of the history list as a `history` notice. Raises `MalformedRequest`."""
    notice = {_ROW_NAMES.get(name, name): item for name, item in _members(value).items()}
    if str(notice.get("direction")).lower() == "missed":
        notice |= {"direction": "in", "result": "missed"}
    return Payload(notice)


def from_event(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`event`: an employee rings, talks or has hung up; it carries no time."""
    call, stage = payload.required("id"), (payload.text("stage") or "").lower()
    parties = _parties(payload)
    name = f"event:{call}:{stage}:{parties['extension'] or ''}"
    return [
        _event(
            origin,
            kind=_STAGES.get(stage, CallKind.UNKNOWN),
            provider_call_id=call,
            event_id=_short(name),
            occurred_at=None,
            **parties,
        )
    ]


def from_history(payload: Payload, origin: Origin) -> list[CallEvent]:
    """`history`: the final record, then its recording when the address is already there."""
    call = payload.required("id")
    parties = _parties(payload)
    outcome = _outcome(payload, inbound=parties["direction"] is Direction.IN)
    facts = {"provider_call_id": call, **parties, **outcome}
    final = _event(
        origin,
        # The same notice may come again knowing more, so the facts are the id.
        event_id=f"final:{_sha256(json.dumps(facts, default=str))}",
        occurred_at=facts["ended_at"] or facts["started_at"],
        final=True,
        **facts,
    )
    return [final, *_recording(payload, final, origin)]


def caller(payload: Payload) -> str | None:
    """Digits of who calls in a `client` question; its member has two known names."""
    return payload.number("clientphone") or payload.number("client")


def _event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _parties(payload: Payload) -> dict[str, Any]:
    direction = _DIRECTIONS.get((payload.text("direction") or "").lower())
    client = payload.number("client")
    if phones.is_internal(client) or direction is Direction.INTERNAL:
        direction, client = Direction.INTERNAL, None
    extension = payload.identifier("extension")
    employee = None if extension == "0" else extension
    return {
        "direction": direction,
        "client_number": client,
        "line_number": payload.number("phone"),
        "extension": employee,
        "employee_key": employee,
    }


def _outcome(payload: Payload, *, inbound: bool) -> dict[str, Any]:
    """Kind, result and times; `duration` is the talk, `provision` the wait before it."""
    result = _result(payload)
    answered = result is CallResult.ANSWERED
    started, wait = _moment(payload, "when"), _seconds(payload, "provision")
    told = _seconds(payload, "duration")
    talk = told if answered or result is None else 0
    total = None if talk is None else (wait or 0) + talk
    return {
        "kind": CallKind.MISSED if inbound and result and not answered else CallKind.ENDED,
        "result": result,
        "talk": talk,
        "duration_total": total,
        "started_at": started,
        "answered_at": _later(started, wait) if answered else None,
        "ended_at": _later(started, total),
    }


def _result(payload: Payload) -> CallResult | None:
    """Without a documented result the length of the talk decides, as in rows of the list."""
    known = _RESULTS.get((payload.text("result") or "").lower())
    talk = _seconds(payload, "duration")
    if known is not None:
        return known
    if talk:
        return CallResult.ANSWERED
    if payload.text("result"):
        return CallResult.UNKNOWN
    return None if talk is None else CallResult.NO_ANSWER


def _recording(payload: Payload, final: CallEvent, origin: Origin) -> list[CallEvent]:
    link = payload.text("record")
    if link is None:
        return []
    return [
        _event(
            origin,
            kind=CallKind.RECORDING_READY,
            provider_call_id=final.provider_call_id,
            event_id=f"record:{_sha256(f'{final.provider_call_id}:{link}')}",
            occurred_at=None if final.occurred_at_is_receipt else final.occurred_at,
            recording_url=link,
        )
    ]


def _moment(payload: Payload, name: str) -> datetime | None:
    """Unix seconds or ISO text, UTC when no zone is written. Raises `MalformedRequest`."""
    text = payload.text(name)
    if text is None or payload.integer(name) is not None:
        return payload.unix_time(name)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedRequest(f"Поле «{name}» не похоже на время") from error


def _seconds(payload: Payload, name: str) -> int | None:
    value = payload.integer(name)
    return value if value is not None and 0 <= value <= _LONGEST_CALL else None


def _later(start: datetime | None, seconds: int | None) -> datetime | None:
    if start is None or seconds is None:
        return None
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError as error:
        raise MalformedRequest("Время звонка не похоже на время") from error


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    return {str(name).lower(): _whole(item) for name, item in value.items()}


def _whole(value: object) -> object:
    """A number without its empty fraction: `Payload` reads no fractions."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(text: str) -> str:
    return text if len(text) <= MAX_ID else _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
