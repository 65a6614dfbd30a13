"""Beeline «Облачная АТС»: rows of its statistics and recordings (JSON) as `CallEvent`s.

Fields come from github.com/bzdvdn/beeline_portal (models.py and its tests); what is marked [I] no
public source confirms.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.beeline_events import Origin, event, moment
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import Payload
from crm.values import phones

_DIRECTIONS = {"INBOUND": Direction.IN, "OUTBOUND": Direction.OUT}
# The operator's own spelling, and the right one in case it is mended.
_RECEIVED = ("RECIEVED", "RECEIVED")
_STATUS_DIRECTIONS = {
    **dict.fromkeys(_RECEIVED, Direction.IN),
    "MISSED": Direction.IN,
    "PLACED": Direction.OUT,
}
# Telephones of a group start to ring within this time.
_ONE_CALL = timedelta(seconds=10)
# Whether the date of a recording is the start of the call or the answer is not documented.
_LONGEST_RINGING = timedelta(seconds=60)
_LONGEST_CALL = timedelta(days=7)


class HistoryWindow:
    """Rows of a stretch of the history: what belongs to one call is told as one.

    The statistics have no call id, the recordings have it (`externalId`): a row whose employee,
    client and start fit a recording takes its id, others get an id derived from the row. Each
    employee of a group has a row of his own, so the missed ones are told last and together.
    """

    def __init__(self, connection_id: int) -> None:
        self._connection_id = connection_id
        self._now = datetime.now(UTC)
        self._records: dict[tuple[str, str], list[_Record]] = defaultdict(list)
        self._answered: dict[str, list[datetime]] = defaultdict(list)
        self._missed: dict[str, list[_Row]] = defaultdict(list)

    def add_record(self, payload: Payload, raw: str) -> None:
        """A row of `/records`, before any row of the statistics. Raises `MalformedRequest`."""
        record = _Record(payload, self._origin(raw))
        if not phones.is_internal(record.client):
            self._records[record.pair].append(record)

    def take(self, payload: Payload, raw: str) -> list[CallEvent]:
        """A row of `/v2/statistics`; missed ones wait for `rest`. Raises `MalformedRequest`."""
        row = _Row(payload, self._origin(raw))
        if phones.is_internal(row.client):
            return []
        if row.is_missed:
            self._missed[row.client_key].append(row)
            return []
        if row.direction is Direction.IN:
            self._answered[row.client_key].append(row.start)
        return [row.final(self._record_of(row))]

    def rest(self) -> Iterator[CallEvent]:
        """Missed calls, then recordings that fit no row."""
        for client, rows in self._missed.items():
            for group in _groups(rows):
                if not self._somebody_answered(client, group):
                    yield _missed_call(group)
        for records in self._records.values():
            yield from (record.conversation() for record in records)

    def _origin(self, raw: str) -> Origin:
        return Origin(connection_id=self._connection_id, received_at=self._now, raw=raw)

    def _record_of(self, row: _Row) -> _Record | None:
        """The nearest recording that fits, taken away so that it is told once."""
        records = self._records.get(row.pair, [])
        fitting = [record for record in records if record.fits(row)]
        if not row.employee or not row.client_key or not fitting:
            return None
        nearest = min(fitting, key=lambda record: abs(record.since(row)))
        records.remove(nearest)
        return nearest

    def _somebody_answered(self, client: str, group: list[_Row]) -> bool:
        return any(
            abs(start - row.start) <= _ONE_CALL for start in self._answered[client] for row in group
        )


class _Row:
    """One row of `/v2/statistics`; times are ms, `duration` is taken for the talk [I]."""

    def __init__(self, payload: Payload, origin: Origin) -> None:
        start, self.status = moment(payload.text("startDate")), payload.text("status") or ""
        if start is None:
            raise MalformedRequest("Нет обязательного поля «startDate»")
        self.start, self.origin, self.source = start, origin, payload.source()
        self.direction = _told_direction(payload)
        side = "phone_to" if self.direction is Direction.OUT else "phone_from"
        self.client = payload.number(side) or payload.number("phone")
        self.employee = payload.identifier("abonent.userId")
        self.extension = payload.identifier("abonent.extension")
        self.duration = _duration(payload)

    @property
    def client_key(self) -> str:
        return phones.match_key(self.client)

    @property
    def pair(self) -> tuple[str, str]:
        return self.employee or "", self.client_key

    @property
    def is_missed(self) -> bool:
        return self.status == "MISSED" and self.direction is not Direction.OUT

    @property
    def made_up_id(self) -> str:
        """Stable over exports: made of what never changes in the row."""
        side = self.direction.value if self.direction else ""
        facts = (self.employee or "", self.client_key, side, self.start.isoformat())
        return "stat:" + _sha256("\n".join(facts))

    def final(self, record: _Record | None) -> CallEvent:
        """The call; with a recording it has the operator's own id."""
        call_id = record.call_id if record else None
        answered = bool(record or self.duration or self.status in _RECEIVED)
        return event(
            self.origin,
            kind=CallKind.ENDED,
            provider_call_id=call_id or self.made_up_id,
            alias_call_ids=(self.made_up_id,) if call_id else (),
            id_is_made_up=call_id is None,
            # A later export may know more (a recording): the content is part of the id.
            event_id="history:" + _sha256(self.source, record.source if record else ""),
            occurred_at=self.start + (self.duration or timedelta()),
            final=True,
            direction=self.direction,
            client_number=self.client,
            started_at=self.start,
            talk=_seconds(self.duration),
            result=CallResult.ANSWERED if answered else self._unanswered(),
            employee_key=self.employee,
            extension=self.extension,
            recording_ref=record.reference if record else None,
        )

    def _unanswered(self) -> CallResult:
        known = self.status in _STATUS_DIRECTIONS
        return CallResult.NO_ANSWER if known else CallResult.UNKNOWN


class _Record:
    """One row of `/records`: `externalId` is `extTrackingId` [I], `date` and `duration` are ms."""

    def __init__(self, payload: Payload, origin: Origin) -> None:
        self.origin, self.source = origin, payload.source()
        self.reference = payload.required("id")
        self.call_id = payload.identifier("externalId")
        self.date = moment(payload.text("date"))
        self.direction = _told_direction(payload)
        self.client = payload.number("phone")
        self.employee = payload.identifier("abonent.userId")
        self.extension = payload.identifier("abonent.extension")
        self.duration = _duration(payload)

    @property
    def pair(self) -> tuple[str, str]:
        return self.employee or "", phones.match_key(self.client)

    def since(self, row: _Row) -> timedelta:
        return self.date - row.start if self.date else timedelta.max

    def fits(self, row: _Row) -> bool:
        directions = {self.direction, row.direction} - {None}
        return len(directions) < 2 and -_ONE_CALL <= self.since(row) <= _LONGEST_RINGING

    def conversation(self) -> CallEvent:
        """A conversation that no row tells of; its times are the file's, so it is not final."""
        call_id = self.call_id or "record:" + _sha256(self.reference)
        return event(
            self.origin,
            kind=CallKind.ENDED,
            provider_call_id=call_id,
            id_is_made_up=self.call_id is None,
            event_id="record:" + _sha256(self.reference),
            occurred_at=self.date + (self.duration or timedelta()) if self.date else None,
            direction=self.direction,
            client_number=self.client,
            started_at=self.date,
            talk=_seconds(self.duration),
            result=CallResult.ANSWERED,
            employee_key=self.employee,
            extension=self.extension,
            recording_ref=self.reference,
        )


def _groups(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows of one client that started together."""
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: (row.start, row.made_up_id)):
        if group and row.start - group[0].start > _ONE_CALL:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _missed_call(group: list[_Row]) -> CallEvent:
    """A missed call names nobody and no talk: the same call may prove answered by others."""
    first, *others = group
    return event(
        first.origin,
        kind=CallKind.MISSED,
        provider_call_id=first.made_up_id,
        alias_call_ids=tuple(dict.fromkeys(row.made_up_id for row in others)),
        id_is_made_up=True,
        event_id="history:" + _sha256(*(row.source for row in group)),
        occurred_at=first.start,
        final=True,
        direction=first.direction,
        client_number=first.client,
        started_at=first.start,
        result=CallResult.NO_ANSWER,
    )


def _told_direction(payload: Payload) -> Direction | None:
    """The direction may be absent: then the status tells it."""
    told = _DIRECTIONS.get(payload.text("direction") or "")
    return told or _STATUS_DIRECTIONS.get(payload.text("status") or "")


def _duration(payload: Payload) -> timedelta | None:
    """Milliseconds; None when absent or longer than any call."""
    found = payload.integer("duration")
    if found is None or not 0 <= found <= _LONGEST_CALL.total_seconds() * 1000:
        return None
    return timedelta(milliseconds=found)


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
