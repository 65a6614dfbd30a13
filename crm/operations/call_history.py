"""Looks into the operators' lists of calls: what webhooks have lost is found and reported."""

from __future__ import annotations

import datetime as dt
import logging

from flask_babel import gettext as _
from sqlalchemy import func, select, update

from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import Capability
from crm.models import Call, HistoryRun, RunState, TelephonyConnection, db
from crm.operations import audit, bus, calls, connections
from crm.operations.errors import Conflict, NotFound
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values.clock import utc_now

log = logging.getLogger(__name__)
SYNC_JOB = "crm.jobs.telephony.sync_history"
# Each look reaches back over the one before it: an operator may add a row late.
OVERLAP = dt.timedelta(hours=2)
NIGHTLY = dt.timedelta(days=3)
LONGEST = dt.timedelta(days=31)
# A look that is not over by then has died with its worker.
_LEASE = dt.timedelta(minutes=70)
# Seconds that one answer of the operator may take.
_SECONDS = 60.0
_STEP = 50
_ERROR_LENGTH = 500
_LOST = "Прервана: исполнитель остановился. Следующая сверка возьмёт тот же период."


def can_sync(connection: TelephonyConnection) -> bool:
    """Whether the connection's operator shows its calls and the account is filled in."""
    operator = connections.build(connection)
    return Capability.HISTORY in operator.capabilities and not operator.missing_credentials()


@operation
def start(
    connection_id: int,
    since: dt.datetime,
    until: dt.datetime | None = None,
    *,
    by: Principal | None = None,
) -> HistoryRun:
    """Order a look at the calls between two aware moments; a job makes it.

    Raises Conflict when one is under way, when the operator shows no history or when the span is
    longer than a month; NotFound.
    """
    connection = connections.find(connection_id)
    db.session.refresh(connection, with_for_update=True)
    until = until or utc_now()
    if not can_sync(connection):
        raise Conflict(_("Оператор не отдаёт историю звонков, или доступ к нему не заполнен."))
    if not since < until or until - since > LONGEST:
        raise Conflict(_("Период сверки — не больше %(days)s дней.", days=LONGEST.days))
    if _under_way(connection_id):
        raise Conflict(_("Сверка уже идёт."))
    run = HistoryRun(
        connection_id=connection_id,
        state=RunState.QUEUED,
        by_hand=by is not None,
        since=since,
        until=until,
    )
    db.session.add(run)
    db.session.flush()
    if by is not None:
        audit.record("history", connection, by, after={"since": since.isoformat()})
    bus.enqueue("sync", SYNC_JOB, run.id, job_id=f"history-{run.id}")
    return run


def run(run_id: int) -> HistoryRun:
    """Make an ordered look; a failure is kept with it. Raises NotFound.

    Each event is a transaction of its own: what was found before a failure stays.
    """
    order = _begin(run_id)
    connection = connections.find(order.connection_id)
    operator = connections.build(connection, seconds=_SECONDS)
    seen = added = 0
    error = None
    try:
        for event in operator.history(order.since, order.until):
            seen += 1
            added += calls.apply(event, connection, run_id).startswith("звонок №")
            if seen % _STEP == 0:
                _progress(run_id, seen, added)
    except IntegrationError as failure:
        log.warning("history of connection %s: %s", connection.id, type(failure).__name__)
        error = failure.message
    return _finish(run_id, seen, added, error)


def order_due(span: dt.timedelta = OVERLAP) -> int:
    """Order a look back over ``span`` (longer after a pause) for every connection; how many."""
    ordered = 0
    for connection in db.session.scalars(
        select(TelephonyConnection).where(
            TelephonyConnection.active, TelephonyConnection.syncs_history
        )
    ):
        if not can_sync(connection):
            continue
        try:
            start(connection.id, _since(connection.id, span))
        except Conflict:
            continue  # the one before it is still under way
        ordered += 1
    return ordered


def last_done(connection_id: int) -> HistoryRun | None:
    """The latest look that came to its end."""
    query = (
        select(HistoryRun)
        .where(HistoryRun.connection_id == connection_id, HistoryRun.state == RunState.DONE)
        .order_by(HistoryRun.id.desc())
        .limit(1)
    )
    found: HistoryRun | None = db.session.scalars(query).first()
    return found


def _since(connection_id: int, span: dt.timedelta) -> dt.datetime:
    """After a night without a connection the whole night is looked at."""
    now = utc_now()
    last = last_done(connection_id)
    reached = last.until - OVERLAP if last is not None else now - span
    return max(min(now - span, reached), now - LONGEST)


def _under_way(connection_id: int) -> bool:
    alive = (RunState.QUEUED, RunState.RUNNING)
    live = HistoryRun.connection_id == connection_id, HistoryRun.state.in_(alive)
    db.session.execute(
        update(HistoryRun)
        .where(*live, HistoryRun.started_at < utc_now() - _LEASE)
        .values(state=RunState.FAILED, finished_at=utc_now(), error=_LOST)
        .execution_options(synchronize_session=False)
    )
    return db.session.scalar(select(HistoryRun.id).where(*live).limit(1)) is not None


@operation
def _begin(run_id: int) -> HistoryRun:
    order: HistoryRun | None = db.session.get(HistoryRun, run_id, with_for_update=True)
    if order is None:
        raise NotFound(_("Такой сверки нет."))
    order.state, order.started_at, order.error = RunState.RUNNING, utc_now(), None
    return order


@operation
def _progress(run_id: int, seen: int, added: int) -> None:
    db.session.execute(
        update(HistoryRun)
        .where(HistoryRun.id == run_id)
        .values(seen=seen, added=added, found=_found(run_id))
    )


@operation
def _finish(run_id: int, seen: int, added: int, error: str | None) -> HistoryRun:
    order: HistoryRun = db.session.get(HistoryRun, run_id, populate_existing=True)
    order.seen, order.added, order.found = seen, added, _found(run_id)
    order.error = error[:_ERROR_LENGTH] if error else None
    order.state = RunState.FAILED if error else RunState.DONE
    order.finished_at = utc_now()
    connections.note_error(order.connection_id, error)
    return order


def _found(run_id: int) -> int:
    """Calls that nobody had told of before this look."""
    query = select(func.count()).select_from(Call).where(Call.history_run_id == run_id)
    return db.session.scalar(query) or 0
