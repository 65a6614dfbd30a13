"""The general protocol: one notice or one row of a history as a `CallEvent`.

The contract is our own; the settings page shows it to integrators.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, MAX_NUMBER
from crm.values import phones

OPERATOR: Final = "generic"
RINGING: Final = "ringing"
ANSWERED: Final = "answered"
ENDED: Final = "ended"
RECORDING: Final = "recording"

# What a row of a history may hold: the fields of `ended` without its name.
ROW_FIELDS = (
    "call_id",
    "direction",
    "client",
    "line",
    "extension",
    "time",
    "answered",
    "duration",
    "talk",
    "recording_url",
)

_KINDS = {RINGING: CallKind.RINGING, ANSWERED: CallKind.ANSWERED}
_MAX_EXTENSION = 64
_MAX_URL = 2000
_LONGEST_CALL = 7 * 86_400
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,20})?")
# In a form a bare `+` is a space.
_ZONE_AFTER_SPACE = re.compile(r" ([0-9]{2}:?[0-9]{2})$")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class BadField(MalformedRequest):
    """A field is absent or cannot be what it should; the sender is told which one."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Поле «{name}»: {problem}")
        self.field = name


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A checked notice; `client` is None when hidden, `duration` and `talk` are seconds."""

    event: str
    call_id: str
    direction: Direction
    client: str | None = field(repr=False)
    line: str | None = None
    extension: str | None = None
    at: datetime | None = None
    answered: bool | None = None
    duration: int | None = None
    talk: int | None = None
    recording_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the fields themselves do not hold."""

    connection_id: int
    received_at: datetime
    raw: str = field(repr=False)


def fields_of(request: InboundRequest) -> Mapping[str, Any]:
    """Members of a JSON object or fields of a form. Raises `MalformedRequest`.

    An object is JSON whatever the header says: `curl -d` calls everything a form.
    """
    if request.method != "POST":
        raise MalformedRequest("Событие передаётся методом POST")
    declared = request.content_type
    if (not declared or "form" in declared) and not request.body.lstrip().startswith(b"{"):
        return request.form()
    value = request.json()
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    return value


def read(fields: Mapping[str, Any], plain_hosts: Collection[str] = ()) -> Notice:
    """Check the fields of a notice; `plain_hosts` may hold recordings without TLS.

    Raises `BadField`.
    """
    event = _text(fields, "event", required=True)
    if event not in (RINGING, ANSWERED, ENDED, RECORDING):
        raise BadField("event", "нужно ringing, answered, ended или recording")
    return Notice(
        event=event,
        call_id=_text(fields, "call_id", required=True),
        direction=_direction(fields),
        client=_client(fields),
        line=_number(fields, "line"),
        extension=_text(fields, "extension", most=_MAX_EXTENSION) or None,
        at=_time(fields, "time"),
        **(_outcome(fields) if event == ENDED else {}),
        recording_url=_recording(fields, event, plain_hosts),
    )


def key_of(notice: Notice) -> str:
    """What makes two notices one: the call, the event and the employee (64 characters)."""
    return _sha256([notice.call_id, notice.event, notice.extension or ""])


def to_event(notice: Notice, origin: Origin) -> CallEvent:
    """Translate a notice."""
    values = {
        "event_id": f"{notice.event}:{key_of(notice)}",
        "recording_url": notice.recording_url,
    }
    if notice.event == ENDED:
        return _event(notice, origin, **_ending(notice), **values)
    if notice.event == RECORDING:
        return _event(notice, origin, kind=CallKind.RECORDING_READY, **values)
    answered_at = notice.at if notice.event == ANSWERED else None
    return _event(notice, origin, kind=_KINDS[notice.event], answered_at=answered_at, **values)


def from_history(
    row: Mapping[str, Any], origin: Origin, plain_hosts: Collection[str] = ()
) -> CallEvent:
    """Translate a row of a history, where the time is required. Raises `BadField`.

    A later export may know more (a recording), so the content is part of the event's id.
    """
    known = {name: row.get(name) for name in ROW_FIELDS}
    content = _sha256(known)
    made_up = known["call_id"] in (None, "")
    if made_up:
        parts = ("time", "direction", "client", "line", "extension")
        known["call_id"] = "row:" + _sha256([known[name] for name in parts])
    notice = read({**known, "event": ENDED}, plain_hosts)
    if notice.at is None:
        raise BadField("time", "в истории время обязательно")
    return _event(
        notice,
        origin,
        **_ending(notice),
        event_id=f"history:{content}",
        recording_url=notice.recording_url,
        id_is_made_up=made_up,
    )


def _event(notice: Notice, origin: Origin, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        provider_call_id=notice.call_id,
        occurred_at=notice.at or origin.received_at,
        occurred_at_is_receipt=notice.at is None,
        direction=notice.direction,
        client_number=notice.client if notice.direction is not Direction.INTERNAL else None,
        line_number=notice.line,
        extension=notice.extension,
        employee_key=notice.extension,
        raw=origin.raw,
        **values,
    )


def _ending(notice: Notice) -> dict[str, Any]:
    """The whole call is over. Without an answer nobody talked, whatever the PBX counted."""
    missed = not notice.answered and notice.direction is Direction.IN
    talk = notice.talk if notice.answered else 0
    return {
        "kind": CallKind.MISSED if missed else CallKind.ENDED,
        "final": True,
        "started_at": _before(notice.at, notice.duration),
        "answered_at": _before(notice.at, talk) if talk else None,
        "ended_at": notice.at,
        "duration_total": notice.duration,
        "talk": talk,
        "result": CallResult.ANSWERED if notice.answered else CallResult.NO_ANSWER,
    }


def _before(moment: datetime | None, seconds: int | None) -> datetime | None:
    if moment is None or seconds is None:
        return None
    return moment - timedelta(seconds=seconds)


def _sha256(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text(
    fields: Mapping[str, Any], name: str, *, required: bool = False, most: int = MAX_ID
) -> str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise BadField(name, "ожидалась строка")
    text = "" if value is None else str(value).strip()
    if required and not text:
        raise BadField(name, "обязательное, а его нет")
    if len(text) > most:
        raise BadField(name, f"длиннее {most} знаков")
    return text


def _direction(fields: Mapping[str, Any]) -> Direction:
    try:
        return Direction(_text(fields, "direction", required=True))
    except ValueError as error:
        raise BadField("direction", "нужно in, out или internal") from error


def _client(fields: Mapping[str, Any]) -> str | None:
    """A hidden number is told by an empty text or a word such as `anonymous`, not by silence."""
    if "client" not in fields:
        raise BadField("client", "обязательное, а его нет")
    return _number(fields, "client")


def _number(fields: Mapping[str, Any], name: str) -> str | None:
    number = phones.digits(_text(fields, name))
    if number is not None and len(number) > MAX_NUMBER:
        raise BadField(name, "слишком длинный номер")
    return number


def _time(fields: Mapping[str, Any], name: str) -> datetime | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    moment = _moment(value)
    if moment is None or not _EARLIEST <= moment < _LATEST:
        raise BadField(name, "нужна дата ISO 8601 с часовым поясом или секунды Unix")
    return moment


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    if _NUMBER.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    try:
        moment = datetime.fromisoformat(_ZONE_AFTER_SPACE.sub(r"+\1", text))
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _outcome(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "answered": _flag(fields, "answered"),
        "duration": _seconds(fields, "duration"),
        "talk": _seconds(fields, "talk"),
    }


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    word = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
    if word not in _FLAGS:
        raise BadField(name, "нужно true или false")
    return _FLAGS[word]


def _seconds(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    known = isinstance(value, str | int | float) and not isinstance(value, bool)
    text = str(value).strip() if known else ""
    if not _NUMBER.fullmatch(text) or float(text) > _LONGEST_CALL:
        raise BadField(name, "нужно целое число секунд, не больше недели")
    return int(float(text))


def _recording(fields: Mapping[str, Any], event: str, plain_hosts: Collection[str]) -> str | None:
    if event not in (ENDED, RECORDING):
        return None
    url = _text(fields, "recording_url", required=event == RECORDING, most=_MAX_URL)
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in plain_hosts)
    if not secure or not parts.hostname or any(char.isspace() for char in url):
        raise BadField("recording_url", "нужен адрес, который начинается с https://")
    return url
