"""Asterisk: its journal of calls, a file of `cdr_custom` that the PBX's web server gives away.

Sources: `configs/samples/cdr_custom.conf.sample` and `funcs/func_cdr.c` of
github.com/asterisk/asterisk. Times are texts of the PBX's own zone: the option `u` of the function
`CDR` does nothing in `cdr_custom`. One call is several rows with one `linkedid`; the row of its
first channel is written when that channel is gone.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.asterisk_dialplan import Dialplan, Role
from crm.integrations.telephony.asterisk_events import (
    OPERATOR,
    Origin,
    event_id,
    recording_ref,
)
from crm.integrations.telephony.asterisk_steps import Channel
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, MAX_NUMBER
from crm.values import phones

# Variables of a row, in their order; the settings page gives the text with them.
COLUMNS = (
    "linkedid",
    "uniqueid",
    "start",
    "answer",
    "end",
    "billsec",
    "disposition",
    "src",
    "dst",
    "dcontext",
    "channel",
    "dstchannel",
    "did",
    "recordingfile",
)
FILE_NAME = "kvartal.csv"
MAPPING = f"{FILE_NAME} => " + ",".join(f"${{CSV_QUOTE(${{CDR({name})}})}}" for name in COLUMNS)

_ANSWERED = "ANSWERED"
_RESULTS = {
    "BUSY": CallResult.BUSY,
    "FAILED": CallResult.FAILED,
    "CONGESTION": CallResult.FAILED,
}
_UNIX = re.compile(r"[0-9]{9,10}(?:\.[0-9]{1,9})?")
_SECONDS = re.compile(r"[0-9]{1,6}")
_LONGEST_CALL = 7 * 86_400
_YEARS = range(2000, 2100)
# Rows of one call are written in the course of it.
_LONGEST_WHOLE = timedelta(hours=6)


@dataclass(frozen=True)
class Row:
    """One row of the journal; times are aware UTC."""

    linked: str
    unique: str
    started: datetime
    answered: datetime | None
    ended: datetime
    talk: int
    disposition: str
    source: str
    dialled: str
    context: str
    channel: str
    peer: str
    line: str
    file: str

    @property
    def is_answered(self) -> bool:
        return self.disposition == _ANSWERED


def rows(text: str, zone: tzinfo) -> list[Row]:
    """Rows of the journal; a last line without its end is still being written.

    Raises `MalformedRequest` for another format.
    """
    if text and not text.startswith('"'):
        raise MalformedRequest("по адресу журнала звонков лежит не он")
    whole = text.replace("\x00", "").rpartition("\n")[0]
    try:
        return [_row(values, zone) for values in csv.reader(whole.splitlines()) if values]
    except csv.Error as error:
        raise MalformedRequest("журнал звонков не читается как CSV") from error


def begins_before(text: str, since: datetime, zone: tzinfo) -> bool:
    """Whether the first row ended so long before ``since`` that no call after it is cut.

    Raises `MalformedRequest`.
    """
    first = rows(text[: text.find("\n") + 1], zone)
    return bool(first) and first[0].ended < since - _LONGEST_WHOLE


def calls(found: Iterable[Row], since: datetime, until: datetime) -> Iterator[list[Row]]:
    """Rows of each call that ended between two moments, the earliest first.

    A call whose first channel has no row yet goes on: the next look finds it whole.
    """
    by_call: dict[str, list[Row]] = {}
    for row in found:
        by_call.setdefault(row.linked, []).append(row)
    for linked, mine in by_call.items():
        ended = max(row.ended for row in mine)
        if since <= ended <= until and any(row.unique == linked for row in mine):
            # The first channel begins the call.
            yield sorted(mine, key=lambda row: (row.unique != linked, row.started))


def events(mine: list[Row], plan: Dialplan, origin: Origin) -> list[CallEvent]:
    """A call's rows as events; none for a call between employees.

    The time of the talk is told apart from the final record: what the listener has measured by
    the bridges is truer, a menu counts in the journal as an answer.
    """
    reading = _Reading(mine, plan, origin)
    if reading.direction is Direction.INTERNAL:
        return []
    return [*reading.answers(), reading.final(), *reading.recordings()]


class _Reading:
    """What the rows of one call say."""

    def __init__(self, mine: list[Row], plan: Dialplan, origin: Origin) -> None:
        self._rows, self._plan, self._origin = mine, plan, origin
        self._first = mine[0]
        self.direction = self._direction()
        self._talks = self._answered_rows()

    def answers(self) -> Iterator[CallEvent]:
        """One event for each employee who talked."""
        told: dict[str | None, datetime] = {}
        for row in self._talks:
            at = row.answered or row.started
            extension = self._employee(row)
            # Behind a menu the later answer is the person's.
            told[extension] = max(at, told.get(extension, at))
        talk = max((row.talk for row in self._talks), default=0)
        for extension, at in told.items():
            mark = f"{extension or ''}@{int(at.timestamp())}"
            yield self._event(
                CallKind.ANSWERED, "cdr answer", mark, at, extension, answered_at=at, talk=talk
            )

    def final(self) -> CallEvent:
        """Who, when and how it went."""
        missed = self.direction is Direction.IN and not self._talks
        started = min(row.started for row in self._rows)
        ended = max(row.ended for row in self._rows)
        total = int((ended - started).total_seconds())
        content = hashlib.sha256(repr(sorted(map(repr, self._rows))).encode()).hexdigest()
        kind = CallKind.MISSED if missed else CallKind.ENDED
        return self._event(
            kind,
            "cdr",
            content,
            ended,
            self._last_employee(),
            final=True,
            started_at=started,
            ended_at=ended,
            duration_total=total if total <= _LONGEST_CALL else None,
            talk=None if self._talks else 0,
            result=self._result(),
        )

    def recordings(self) -> Iterator[CallEvent]:
        """Files of a call that somebody answered, when there is a way to fetch them."""
        if not self._talks or not self._origin.with_files:
            return
        begun = int(self._first.started.timestamp())
        found = (recording_ref(row.file, begun, self._origin.zone) for row in self._rows)
        for ref in dict.fromkeys(filter(None, found)):
            ended = max(row.ended for row in self._rows)
            # The name by which the listener tells of the same file.
            yield self._event(
                CallKind.RECORDING_READY, "record", ref, ended, None, recording_ref=ref
            )

    # Details

    def _direction(self) -> Direction:
        if self._is_client(self._first.channel, self._first.context):
            return Direction.IN
        outgoing = any(self._is_client(row.peer) for row in self._rows)
        return Direction.OUT if outgoing else Direction.INTERNAL

    def _answered_rows(self) -> list[Row]:
        """Rows that prove a talk. Halves of `Local` channels count where nothing else was rung."""
        wanted = {Role.CLIENT}
        if self.direction is Direction.IN:
            wanted |= {Role.EMPLOYEE}
        rung = [row for row in self._rows if self._role(row.peer) in (Role.CLIENT, Role.EMPLOYEE)]
        proof = [row for row in rung if row.is_answered and self._role(row.peer) in wanted]
        if self.direction is not Direction.IN or (rung and not proof):
            return proof
        inner = [row for row in self._rows if row.is_answered and self._is_inner(row.peer)]
        return proof + inner

    def _is_inner(self, peer: str) -> bool:
        return self._role(peer) is Role.LOCAL and self._extension(peer) is not None

    def _employee(self, row: Row) -> str | None:
        return self._extension(row.peer) if self.direction is Direction.IN else self._dialler()

    def _dialler(self) -> str | None:
        names = (name for row in self._rows for name in (row.channel, row.peer))
        return next((found for name in names if (found := self._extension(name))), None)

    def _last_employee(self) -> str | None:
        """Who talked last, or who dialled out; nobody of a missed call."""
        if self.direction is Direction.OUT:
            return self._dialler()
        talked = [row for row in self._talks if self._extension(row.peer)]
        last = max(talked, key=lambda row: row.answered or row.started, default=None)
        return self._extension(last.peer) if last else None

    def _result(self) -> CallResult:
        if self._talks:
            return CallResult.ANSWERED
        last = max(self._rows, key=lambda row: row.ended)
        return _RESULTS.get(last.disposition, CallResult.NO_ANSWER)

    def _parties(self) -> tuple[str | None, str | None]:
        """Numbers of the client and of the line."""
        outside = self._plan.outside_number
        if self.direction is Direction.OUT:
            to_client = [row for row in self._rows if self._is_client(row.peer)]
            return outside([_number(row.dialled) for row in to_client]), None
        lines = [*(row.line for row in self._rows), self._first.dialled]
        return outside([_number(self._first.source)]), outside(map(_number, lines))

    def _is_client(self, name: str, context: str = "") -> bool:
        if self._role(name) is Role.CLIENT:
            return True
        channel = Channel(id="", name=name, context=context)
        is_line = bool(context) and self._plan.comes_from_outside(channel)
        return is_line and self._role(name) is Role.EMPLOYEE

    def _role(self, name: str) -> Role:
        return self._plan.role(Channel(id="", name=name)) if name else Role.NOBODY

    def _extension(self, name: str) -> str | None:
        return self._plan.extension(Channel(id="", name=name)) if name else None

    def _event(
        self,
        kind: CallKind,
        what: str,
        mark: str,
        at: datetime,
        extension: str | None,
        **values: Any,
    ) -> CallEvent:
        client, line = self._parties()
        return CallEvent(
            kind=kind,
            operator=OPERATOR,
            connection_id=self._origin.connection_id,
            provider_call_id=self._first.linked,
            event_id=event_id(what, self._first.linked, mark),
            occurred_at=at,
            direction=self.direction,
            client_number=client,
            line_number=line,
            extension=extension,
            employee_key=extension,
            raw=self._origin.raw,
            **values,
        )


def _row(values: list[str], zone: tzinfo) -> Row:
    if len(values) != len(COLUMNS):
        raise MalformedRequest("в журнале звонков другие столбцы: скопируйте их со страницы")
    told = dict(zip(COLUMNS, (value.strip() for value in values), strict=True))
    started, ended = (_moment(told[name], zone) for name in ("start", "end"))
    linked, unique = told["linkedid"], told["uniqueid"]
    if started is None or ended is None or not linked or max(len(linked), len(unique)) > MAX_ID:
        raise MalformedRequest("в строке журнала звонков нет номера или времени звонка")
    return Row(
        linked=linked,
        unique=unique,
        started=started,
        answered=_moment(told["answer"], zone),
        ended=ended,
        talk=int(told["billsec"]) if _SECONDS.fullmatch(told["billsec"]) else 0,
        disposition=told["disposition"].upper(),
        source=told["src"],
        dialled=told["dst"],
        context=told["dcontext"],
        channel=told["channel"],
        peer=told["dstchannel"],
        line=told["did"],
        file=told["recordingfile"],
    )


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """Text of the PBX's zone, or unix seconds; None for neither."""
    if _UNIX.fullmatch(text):
        return datetime.fromtimestamp(int(float(text)), UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _number(text: str) -> str | None:
    found = phones.digits(text)
    return found if found is not None and len(found) <= MAX_NUMBER else None
