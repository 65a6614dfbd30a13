"""Asterisk: a step of a call, with what is known of the call by then, as `CallEvent`s."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from crm.integrations.telephony.asterisk_steps import ARI_FILE, Kind, Step, request_id
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, Payload

OPERATOR = "asterisk"

_LATEST_UNIX = 4102444800
_LONGEST_CALL = 7 * 86_400
_MOST_FILES = 20
_FLAGS = ("transferred", "answered", "over", "whole")
_FILE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")
_DATED = re.compile(r"(\d{4}/\d{2}/\d{2})/[^/]+$")
# Hang-up causes (Q.850) and values of `DialStatus` that say why nobody talked.
_RESULTS = {
    "BUSY": CallResult.BUSY,
    "NOANSWER": CallResult.NO_ANSWER,
    "CANCEL": CallResult.CANCELLED,
    "CONGESTION": CallResult.FAILED,
    "CHANUNAVAIL": CallResult.FAILED,
    "INVALIDARGS": CallResult.FAILED,
    "17": CallResult.BUSY,
    "18": CallResult.NO_ANSWER,
    "19": CallResult.NO_ANSWER,
    "21": CallResult.BUSY,
    "34": CallResult.FAILED,
    "127": CallResult.FAILED,
}
# `Reason` of `OriginateResponse`.
_REASONS = {"1": CallResult.NO_ANSWER, "3": CallResult.NO_ANSWER, "5": CallResult.BUSY}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a call when one of its steps comes; times are unix seconds.

    `extension` is whose leg the step is about, at the end of the call whose the talk was. `whole`
    says that the call was watched from its first moment.
    """

    id: str
    direction: str | None = None
    client: str | None = None
    line: str | None = None
    extension: str | None = None
    request: str | None = None
    transferred: bool = False
    answered: bool = False
    over: bool = False
    whole: bool = False
    started: int | None = None
    talk_from: int | None = None
    talk: int | None = None
    status: str | None = None
    files: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Members that tell something."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        flags = [name for name in _FLAGS if values.pop(name)]
        values.pop("files")
        told = {name: value for name, value in values.items() if value is not None}
        lists = {"files": list(self.files), "is": flags}
        return told | {name: value for name, value in lists.items() if value}

    @classmethod
    def from_json(cls, told: Payload) -> Known:
        """Raises `MalformedRequest`."""
        flags = told.texts("is")
        return cls(
            id=told.identifier("id") or "",
            direction=told.identifier("direction"),
            client=told.number("client"),
            line=told.number("line"),
            extension=told.identifier("extension"),
            request=request_id(told.text("request") or ""),
            transferred="transferred" in flags,
            answered="answered" in flags,
            over="over" in flags,
            whole="whole" in flags,
            started=told.integer("started"),
            talk_from=told.integer("talk_from"),
            talk=told.integer("talk"),
            status=told.identifier("status"),
            files=tuple(told.texts("files")[:_MOST_FILES]),
        )


@dataclass(frozen=True)
class Origin:
    """The request that brought an event, and where the PBX keeps its files."""

    connection_id: int
    received_at: datetime
    raw: str
    zone: tzinfo = UTC
    with_files: bool = False


def translate(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    """Events of one step; none when it moves nothing."""
    return _MEANINGS[step.kind](step, known, origin)


def recording_ref(path: str, started: int | None, zone: tzinfo) -> str | None:
    """`YYYY/MM/DD/name` of a file that MixMonitor has named; None for a name not to be trusted."""
    name = path.rsplit("/", 1)[-1]
    if not _FILE.fullmatch(name) or ".." in name:
        return None
    dated = _DATED.search(path)
    if dated is not None:
        return f"{dated[1]}/{name}"
    moment = _moment(started)
    return f"{moment.astimezone(zone):%Y/%m/%d}/{name}" if moment is not None else None


# --- meanings ---------------------------------------------------------------------------------


def _created(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    return [_event(step, known, origin, CallKind.RINGING, "new")]


def _dialled(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    return [_event(step, known, origin, CallKind.RINGING, "dial", _leg(step))]


def _dial_over(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    if step.status == "ANSWER":
        return _answered(step, known, origin)
    return [_event(step, known, origin, CallKind.LEG_ENDED, "leg", _leg(step))]


def _answered(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    """Told by the dial and by the bridge: the leg makes both one event."""
    at = step.at or origin.received_at
    leg = _leg(step)
    return [_event(step, known, origin, CallKind.ANSWERED, "answer", leg, answered_at=at)]


def _variable(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    """The dialled line or our order becomes known."""
    told = f"{known.line or ''}/{known.request or ''}"
    return [_event(step, known, origin, CallKind.RINGING, "told", told)]


def _transferred(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    return [_event(step, known, origin, CallKind.LEG_ENDED, "transfer", _leg(step))]


def _hung_up(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    if not known.over:
        return [_event(step, known, origin, CallKind.LEG_ENDED, "hangup", _leg(step))]
    missed = known.direction == Direction.IN.value and not known.answered
    kind = CallKind.MISSED if missed else CallKind.ENDED
    times = _times(step.at or origin.received_at, known)
    final = _event(
        step, known, origin, kind, "over", final=known.whole, result=_result(known), **times
    )
    return [final, *_recordings(step, known, origin)]


def _recorded(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    return _recordings(step, known, origin)


def _ordered(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    """`OriginateResponse`: a refused order ends by our id, an accepted one gets its call's."""
    if not step.status:
        return [_event(step, known, origin, CallKind.RINGING, "order", known.request or "")]
    result = _REASONS.get(step.status, CallResult.FAILED)
    refused = known.request or ""
    return [_event(step, known, origin, CallKind.ENDED, "refused", refused, result=result)]


_MEANINGS: dict[Kind, Callable[[Step, Known, Origin], list[CallEvent]]] = {
    Kind.CREATED: _created,
    Kind.DIALLED: _dialled,
    Kind.DIAL_OVER: _dial_over,
    Kind.BRIDGED: _answered,
    Kind.UNBRIDGED: lambda *_: [],
    Kind.VARIABLE: _variable,
    Kind.TRANSFERRED: _transferred,
    Kind.HUNG_UP: _hung_up,
    Kind.RECORDED: _recorded,
    Kind.ORDERED: _ordered,
    Kind.LISTED: lambda *_: [],
}


def _event(
    step: Step,
    known: Known,
    origin: Origin,
    kind: CallKind,
    what: str,
    of: str = "",
    **values: Any,
) -> CallEvent:
    return CallEvent(
        kind=kind,
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=known.id,
        event_id=event_id(what, known.id, of),
        occurred_at=step.at or origin.received_at,
        occurred_at_is_receipt=step.at is None,
        direction=_direction(known.direction),
        client_number=known.client,
        line_number=known.line,
        extension=known.extension,
        employee_key=known.extension,
        crm_request_id=known.request,
        transferred=known.transferred,
        raw=origin.raw,
        **values,
    )


def event_id(what: str, call: str, of: str) -> str:
    """Id of an event of a call, short enough to be kept."""
    text = f"{what}:{call}:{of}"
    if len(text) <= MAX_ID:
        return text
    return f"{what}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _leg(step: Step) -> str:
    """The called leg, or the only one that the event is about."""
    leg = step.peer if step.kind in (Kind.DIALLED, Kind.DIAL_OVER) else step.channel
    return leg.id if leg is not None else ""


def _direction(told: str | None) -> Direction | None:
    return next((item for item in Direction if item.value == told), None)


def _result(known: Known) -> CallResult | None:
    if known.answered:
        return CallResult.ANSWERED
    inbound = known.direction == Direction.IN.value
    return _RESULTS.get(known.status or "", CallResult.NO_ANSWER if inbound else None)


def _times(ended: datetime, known: Known) -> dict[str, Any]:
    """What was measured from the first moment to the last; nothing for a call met half-way."""
    times: dict[str, Any] = {"ended_at": ended}
    started, talk_from = _moment(known.started), _moment(known.talk_from)
    if known.whole and started is not None and started <= ended:
        total = int((ended - started).total_seconds())
        if total <= _LONGEST_CALL:
            talk = min(max(known.talk or 0, 0), total)
            times |= {"started_at": started, "duration_total": total, "talk": talk}
            if known.answered and talk_from is not None and started <= talk_from <= ended:
                times["answered_at"] = talk_from
    return times


def _moment(seconds: int | None) -> datetime | None:
    if seconds is None or not 0 < seconds < _LATEST_UNIX:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _recordings(step: Step, known: Known, origin: Origin) -> list[CallEvent]:
    """Files of a call that somebody answered, when there is a way to fetch them."""
    if not known.answered:
        return []
    refs = dict.fromkeys(_ref(path, known, origin) for path in known.files)
    known = replace(known, extension=None)  # a file is of the call, not of a telephone
    return [
        _event(step, known, origin, CallKind.RECORDING_READY, "record", ref, recording_ref=ref)
        for ref in refs
        if ref is not None
    ]


def _ref(path: str, known: Known, origin: Origin) -> str | None:
    if path.startswith(ARI_FILE):
        return path if is_stored_name(path.removeprefix(ARI_FILE)) else None
    return recording_ref(path, known.started, origin.zone) if origin.with_files else None


def is_stored_name(name: str) -> bool:
    """Whether ARI may be asked for a recording of this name; folders are allowed in it."""
    parts = name.split("/")
    return len(parts) <= 8 and all(_FILE.fullmatch(part) and ".." not in part for part in parts)
