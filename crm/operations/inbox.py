"""The inbox: what came from outside is stored before it is understood, and then drained.

`accept` is one INSERT whose unique key is the de-duplication. The row is the truth; Redis only
wakes the worker sooner, and a sweeper needs no Redis at all.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask_babel import gettext as _
from redis.exceptions import RedisError
from sqlalchemy import Executable, Select, bindparam, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from crm.integrations.errors import IntegrationError
from crm.integrations.inbound import InboundRequest
from crm.models import DeliveryState, InboundDelivery, db
from crm.operations import audit, bus, calls_door, leads
from crm.operations.errors import Conflict, NotFound
from crm.operations.transaction import after_commit, operation
from crm.security.principal import Principal
from crm.values.clock import utc_now

log = logging.getLogger(__name__)

WAKE_KEY = "kvartal:wake"
WAKE_SECONDS = 30
DRAIN_JOB = "crm.jobs.inbox.drain"
# After the n-th failure; the eighth is the last.
BACK_OFF = (2, 10, 60, 300, 900, 3600, 3600)
MAX_ATTEMPTS = len(BACK_OFF) + 1
# What a wake-up was lost for; a worker that is awake takes a delivery in much sooner.
SWEEP_AGE = dt.timedelta(seconds=10)
# A drain ends well before its job's time limit and asks for the next one.
DRAIN_SECONDS = 90.0
# How long a process does not try a Redis that did not answer: an answer to a sender is worth more.
_QUIET_SECONDS = 3.0
# In the words of the index that serves it.
_IS_PENDING = text("inbound_delivery.state IN ('new', 'retry')")
_ERROR_LENGTH = 4000
_HEADER_LENGTH = 2000
_SECRET_HEADER = re.compile(r"sign|token|secret|auth|cookie|password|api[-_]?key", re.IGNORECASE)
# For the running transaction: what a crash of the server takes back is still in the inbox and is
# taken in once more.
_NO_WAIT_FOR_DISK = func.set_config("synchronous_commit", "off", True)
_quiet_until = 0.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The stored delivery; ``is_new`` False: the very same request was here before."""

    delivery_id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What a drain did: how many deliveries it took in and how many of them failed."""

    done: int = 0
    failed: int = 0


# Takes a delivery in and says what became of it; any exception means «try again later».
Handler = Callable[[InboundDelivery], tuple[DeliveryState, str]]
_HANDLERS: Mapping[str, Handler] = {"telephony": calls_door.take_in, "intake": leads.take_in}


# --- the rim ----------------------------------------------------------------------------------


@operation
def accept(
    door: str,
    family: str,
    adapter: str,
    request: InboundRequest,
    dedup_key: str,
    body_masked: str,
    trust: Mapping[str, Any] | None = None,
) -> Accepted:
    """Store a verified request in one statement and wake the worker after the commit.

    ``door`` is ``telephony:<id>`` or ``intake:<id>``, ``family`` the part before the colon;
    ``dedup_key`` (≤ 128) tells repeats within the door. A repeat only counts itself.
    """
    row = _row(request) | {
        "door": door,
        "family": family,
        "adapter": adapter,
        "dedup_key": dedup_key[:128],
        "body_masked": _plain(body_masked),
        "trust": dict(trust or {}),
    }
    statement = _insert_or_count(db.session.get_bind().dialect.name)
    # Straight to the connection: the row is not an object of the session.
    delivery_id, repeats = db.session.connection().execute(statement, row).one()
    if repeats == 0:
        after_commit(wake)
    return Accepted(delivery_id, repeats == 0)


@cache
def _insert_or_count(dialect: str) -> Executable:
    """One statement for all deliveries, made once: making it costs more than running it."""
    table = InboundDelivery.__table__
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return (
        make(table)
        .on_conflict_do_update(
            index_elements=["door", "dedup_key"], set_={"repeats": table.c.repeats + 1}
        )
        .returning(table.c.id, table.c.repeats)
    )


def wake() -> None:
    """Have the inbox drained soon; at most one wake-up waits in the queue."""
    global _quiet_until  # noqa: PLW0603 - the state of this process's only Redis
    if time.monotonic() < _quiet_until:
        return
    try:
        if bus.redis().set(WAKE_KEY, "1", nx=True, ex=WAKE_SECONDS):
            bus.enqueue_now("calls", DRAIN_JOB)
    except RedisError:
        # The row is the truth: the sweeper finds it.
        _quiet_until = time.monotonic() + _QUIET_SECONDS
        log.warning("the queue is unreachable; the sweeper will take the inbox in")


def wake_anew() -> None:
    """The same after an outage: the note of a wake-up may have outlived the wake-up itself."""
    _forget_wake()
    wake()


def _row(request: InboundRequest) -> dict[str, Any]:
    return {
        "method": request.method[:8],
        "path_tail": _plain(request.path_tail)[:255],
        "query": {_plain(name): _plain(value) for name, value in request.query.items()},
        "headers": _kept_headers(request.headers),
        "body": request.body,
        "remote_addr": request.remote_addr[:64] or None,
        "received_at": request.received_at,
        "next_attempt_at": request.received_at,
    }


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Everything but what proves an identity: the proof was checked and is not needed again."""
    return {
        name: _plain(value)[:_HEADER_LENGTH]
        for name, value in headers.items()
        if not _SECRET_HEADER.search(name)
    }


def _plain(text: str) -> str:
    """Text that every database takes."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


# --- draining ---------------------------------------------------------------------------------


def drain(limit: int = 200) -> Taken:
    """Take in what is due, oldest first, each delivery in a transaction of its own."""
    _forget_wake()
    taken = _drain(limit, dt.timedelta())
    if taken.done + taken.failed >= limit:
        wake()
    return taken


def sweep(limit: int = 1000, age: dt.timedelta = SWEEP_AGE) -> Taken:
    """Take in what no wake-up has for ``age``, and retries that are due; needs no Redis."""
    return _drain(limit, age)


def _drain(limit: int, age: dt.timedelta) -> Taken:
    """One after another; those that fail are put off."""
    ends = time.monotonic() + DRAIN_SECONDS
    done = failed = 0
    while done + failed < limit and time.monotonic() < ends:
        tried, error = _take_in_safely(age)
        if tried is None:
            break
        if error is None:
            done += 1
        else:
            failed += 1
            _note_failure(tried, error)
    return Taken(done, failed)


def _forget_wake() -> None:
    """Before reading: whatever comes from now on wakes again."""
    try:
        bus.redis().delete(WAKE_KEY)
    except RedisError:
        log.warning("the queue is unreachable; the key of the wake-up will expire by itself")


def _take_in_safely(age: dt.timedelta) -> tuple[int | None, Exception | None]:
    """One delivery and what was wrong with it: that is kept with it and stops nobody else."""
    held: list[int] = []
    try:
        _take_in(age, held)
    except Exception as error:
        db.session.rollback()
        if not held:
            raise
        return held[0], error
    return (held[0] if held else None), None


@operation
def _take_in(age: dt.timedelta, held: list[int]) -> None:
    """Take in the oldest due delivery that nobody holds; its id goes to ``held`` before all."""
    db.session.expire_all()
    now = utc_now()
    delivery = _hold_oldest(now - age)
    if delivery is None and age:
        # Nobody is woken for a retry, so the sweeper is the one who takes it at once.
        delivery = _hold_oldest(now, retries=True)
    if delivery is None:
        return
    held.append(delivery.id)
    state, verdict = _HANDLERS[delivery.family](delivery)
    delivery.state = state
    delivery.verdict = verdict[:500]
    delivery.error = None
    delivery.attempts += 1
    delivery.processed_at = utc_now()


def _hold_oldest(until: dt.datetime, *, retries: bool = False) -> InboundDelivery | None:
    """The oldest that is due, ours until the end of the transaction; None when others have them."""
    due = {"until": until}
    if db.session.get_bind().dialect.name == "sqlite":
        delivery_id = db.session.scalar(_oldest("sqlite", retries=retries), due)
        return None if delivery_id is None else _hold(delivery_id)
    query = _oldest("postgresql", retries=retries)
    found: InboundDelivery | None = db.session.scalars(query, due).one_or_none()
    return found


@cache
def _oldest(dialect: str, *, retries: bool) -> Select[Any]:
    """One statement for all deliveries: with PostgreSQL's the row is ours at once.

    It asks for nothing but what the index of the inbox holds: with more, the planner sorts all
    that wait for each single one.
    """
    table = InboundDelivery
    what = (table.id,) if dialect == "sqlite" else (table, _NO_WAIT_FOR_DISK)
    query = select(*what).where(_IS_PENDING, table.next_attempt_at <= bindparam("until"))
    if retries:
        query = query.where(table.state == DeliveryState.RETRY)
    query = query.order_by(table.next_attempt_at, table.id).limit(1)
    if dialect == "sqlite":
        return query
    held = query.with_for_update(skip_locked=True, of=table)
    return held.execution_options(populate_existing=True)


def _hold(delivery_id: int) -> InboundDelivery | None:
    """The delivery, ours until the end of the transaction; None when another one has it."""
    if db.session.get_bind().dialect.name == "sqlite":
        # The first statement is a write: from here on we are the only writer.
        db.session.execute(
            update(InboundDelivery)
            .where(InboundDelivery.id == delivery_id)
            .values(attempts=InboundDelivery.attempts)
            .execution_options(synchronize_session=False)
        )
    query = select(InboundDelivery).where(_IS_PENDING, InboundDelivery.id == delivery_id)
    found: InboundDelivery | None = db.session.scalars(
        query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    ).one_or_none()
    return found


@operation
def _note_failure(delivery_id: int, error: Exception) -> None:
    delivery = _hold(delivery_id)
    if delivery is None:
        return
    permanent = isinstance(error, IntegrationError) and error.permanent
    delivery.attempts += 1
    delivery.error = _describe(error)
    if permanent or delivery.attempts >= MAX_ATTEMPTS:
        delivery.state = DeliveryState.FAILED
        delivery.processed_at = utc_now()
    else:
        delivery.state = DeliveryState.RETRY
        pause = dt.timedelta(seconds=BACK_OFF[delivery.attempts - 1])
        delivery.next_attempt_at = utc_now() + pause
    log.warning(
        "delivery %s: attempt %s failed: %s", delivery_id, delivery.attempts, type(error).__name__
    )


def _describe(error: Exception) -> str:
    """For the administrator: the reason in words, or the kind of the failure."""
    message = getattr(error, "message", None)
    text = str(message) if message else f"{type(error).__name__}: {error}"
    return _plain(text)[:_ERROR_LENGTH]


# --- by hand ----------------------------------------------------------------------------------


@operation
def replay(delivery_id: int, by: Principal | None) -> InboundDelivery:
    """Take a delivery in once more; what it has made already is not made twice.

    Raises NotFound, and Conflict for one that still waits.
    """
    delivery: InboundDelivery | None = db.session.get(
        InboundDelivery, delivery_id, with_for_update=True, populate_existing=True
    )
    if delivery is None:
        raise NotFound(_("Такой доставки нет."))
    if delivery.state == DeliveryState.NEW:
        raise Conflict(_("Доставка ещё не обработана."))
    delivery.state = DeliveryState.RETRY
    delivery.attempts = 0
    delivery.next_attempt_at = utc_now()
    audit.record("replay", delivery, by)
    after_commit(wake)
    return delivery


def replay_many(delivery_ids: Iterable[int], by: Principal | None) -> int:
    """Replay several; returns how many were put back, those still waiting are left alone."""
    count = 0
    for delivery_id in dict.fromkeys(delivery_ids):
        try:
            replay(delivery_id, by)
        except (Conflict, NotFound):
            continue
        count += 1
    return count
