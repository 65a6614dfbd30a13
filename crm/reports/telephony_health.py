"""How each telephony connection does: last event, last look into the history, shares, failures."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import defer, joinedload

from crm.models import (
    Call,
    CallState,
    DeliveryState,
    HistoryRun,
    InboundDelivery,
    RecordingState,
    RunState,
    TelephonyConnection,
    db,
)
from crm.values.clock import utc_now

# Figures are of the last days: old trouble that is over tells nothing.
DAYS = 7
_LATEST = 10
# Sketches of an unknown PBX: the first requests tell enough.
_SKETCHES = 20


@dataclass(slots=True)
class Health:
    """A connection with its figures of the last seven days."""

    connection: TelephonyConnection
    calls: int = 0
    answered: int = 0
    missed: int = 0
    recorded: int = 0
    found: int = 0
    failed: int = 0
    last_run: HistoryRun | None = None
    done_run: HistoryRun | None = None

    @property
    def recorded_share(self) -> int | None:
        """Per cent of talks whose recording we have; None when nobody talked."""
        return round(100 * self.recorded / self.answered) if self.answered else None

    @property
    def state(self) -> str:
        """``off``, ``error``, ``silent`` (nothing has ever come) or ``works``."""
        if not self.connection.active:
            return "off"
        if self.connection.last_error:
            return "error"
        return "works" if self.connection.last_event_at else "silent"


@dataclass(slots=True)
class Details:
    """What the page of one connection shows beside its figures."""

    health: Health
    deliveries: list[InboundDelivery] = field(default_factory=list)
    runs: list[HistoryRun] = field(default_factory=list)


def overview() -> list[Health]:
    """All connections by name (5 queries, whatever their number)."""
    rows = db.session.scalars(
        select(TelephonyConnection)
        .options(
            joinedload(TelephonyConnection.pipeline), joinedload(TelephonyConnection.department)
        )
        .order_by(TelephonyConnection.active.desc(), TelephonyConnection.name)
    )
    found = {row.id: Health(row) for row in rows}
    _fill(found)
    return list(found.values())


def details(connection: TelephonyConnection) -> Details:
    """One connection with its latest deliveries and looks."""
    health = Health(connection)
    _fill({connection.id: health})
    return Details(health, _deliveries(connection.id), _runs(connection.id))


def sketches(connection_id: int) -> list[dict[str, object]]:
    """Shapes of the latest requests of a connection that only listens."""
    query = (
        select(InboundDelivery.trust)
        .where(
            InboundDelivery.door == f"telephony:{connection_id}",
            InboundDelivery.received_at > _since(),
        )
        .order_by(InboundDelivery.received_at.desc())
        .limit(_SKETCHES)
    )
    return [trust["sketch"] for trust in db.session.scalars(query) if "sketch" in (trust or {})]


def latest_call(connection_id: int, since: dt.datetime) -> Call | None:
    """The newest call that has come through the connection after ``since``."""
    query = (
        select(Call)
        .where(Call.connection_id == connection_id, Call.started_at >= since)
        .options(joinedload(Call.source), joinedload(Call.employee))
        .order_by(Call.started_at.desc(), Call.id.desc())
        .limit(1)
    )
    found: Call | None = db.session.scalars(query).first()
    return found


def latest_deliveries(connection_id: int, after_id: int) -> list[InboundDelivery]:
    """What has come after a delivery that was seen already, the oldest first."""
    query = (
        select(InboundDelivery)
        .where(
            InboundDelivery.door == f"telephony:{connection_id}",
            InboundDelivery.id > after_id,
            InboundDelivery.received_at > utc_now() - dt.timedelta(minutes=15),
        )
        .options(defer(InboundDelivery.body), defer(InboundDelivery.body_masked))
        .order_by(InboundDelivery.id)
        .limit(_LATEST)
    )
    return list(db.session.scalars(query))


def _since() -> dt.datetime:
    return utc_now() - dt.timedelta(days=DAYS)


def _fill(found: dict[int, Health]) -> None:
    talked = Call.answered_at.is_not(None)
    stored = and_(talked, Call.recording_state == RecordingState.STORED)
    counted = (
        select(
            Call.connection_id,
            func.count(),
            func.count(case((talked, 1))),
            func.count(case((Call.state == CallState.MISSED, 1))),
            func.count(case((stored, 1))),
            func.count(Call.history_run_id),
        )
        .where(Call.started_at > _since(), Call.connection_id.in_(found))
        .group_by(Call.connection_id)
    )
    for pk, total, answered, missed, recorded, by_history in db.session.execute(counted):
        health = found[pk]
        health.calls, health.answered, health.missed = total, answered, missed
        health.recorded, health.found = recorded, by_history
    _fill_runs(found)
    doors = {f"telephony:{pk}": pk for pk in found}
    failed = (
        select(InboundDelivery.door, func.count())
        .where(
            InboundDelivery.state == DeliveryState.FAILED,
            InboundDelivery.received_at > _since(),
            InboundDelivery.door.in_(doors),
        )
        .group_by(InboundDelivery.door)
    )
    for door, count in db.session.execute(failed):
        found[doors[door]].failed = count


def _fill_runs(found: dict[int, Health]) -> None:
    newest = (
        select(
            func.max(HistoryRun.id),
            func.max(case((HistoryRun.state == RunState.DONE, HistoryRun.id))),
        )
        .where(HistoryRun.connection_id.in_(found))
        .group_by(HistoryRun.connection_id)
    )
    ids = {pk for row in db.session.execute(newest) for pk in row if pk is not None}
    for run in db.session.scalars(
        select(HistoryRun).where(HistoryRun.id.in_(ids)).order_by(HistoryRun.id)
    ):
        health = found[run.connection_id]
        health.last_run = run
        if run.state == RunState.DONE:
            health.done_run = run


def _deliveries(connection_id: int) -> list[InboundDelivery]:
    query = (
        select(InboundDelivery)
        .where(
            InboundDelivery.door == f"telephony:{connection_id}",
            InboundDelivery.received_at > _since(),
        )
        .options(defer(InboundDelivery.body), defer(InboundDelivery.body_masked))
        .order_by(InboundDelivery.received_at.desc(), InboundDelivery.id.desc())
        .limit(_LATEST)
    )
    return list(db.session.scalars(query))


def _runs(connection_id: int) -> list[HistoryRun]:
    query = (
        select(HistoryRun)
        .where(HistoryRun.connection_id == connection_id)
        .order_by(HistoryRun.id.desc())
        .limit(_LATEST)
    )
    return list(db.session.scalars(query))
