"""Whether the parts of the product work, each asked for a limited time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from functools import cache
from typing import TypeVar

from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from crm.models import JobSlot, db
from crm.values.clock import utc_now

T = TypeVar("T")
CHECK_SECONDS = 2.0
# The scheduler notes its life every 10 s.
BEAT_IS_LATE = dt.timedelta(seconds=45)
SCHEDULER = "scheduler"
WORKERS_KEY = "kvartal:workers"
EVENTS_KEY = "kvartal:events"


def check() -> dict[str, bool]:
    """State of database, queue, worker, scheduler and events, in this order."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    redis: Redis = app.extensions["redis"]
    database, scheduler = _within(lambda: _database(app), (False, False))
    queue, worker, events = _within(lambda: _redis(redis), (False, False, False))
    return {
        "database": database,
        "queue": queue,
        "worker": worker,
        "scheduler": scheduler,
        "events": events,
    }


def _database(app: Flask) -> tuple[bool, bool]:
    with app.app_context():
        try:
            beat = db.session.scalar(select(JobSlot.slot_at).where(JobSlot.name == SCHEDULER))
        except SQLAlchemyError:
            return False, False
    return True, beat is not None and utc_now() - beat < BEAT_IS_LATE


def _redis(redis: Redis) -> tuple[bool, bool, bool]:
    try:
        worker, events = redis.mget(WORKERS_KEY, EVENTS_KEY)
    except RedisError:
        return False, False, False
    return True, worker is not None, events is not None


def _within(check: Callable[[], T], otherwise: T) -> T:
    """The check's answer, or ``otherwise`` when it takes too long."""
    try:
        return _threads().submit(check).result(timeout=CHECK_SECONDS)
    except TooSlow:
        return otherwise


@cache
def _threads() -> ThreadPoolExecutor:
    """Made at the first question, so after the server has forked."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="health")
