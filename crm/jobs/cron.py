"""The scheduler: hands due jobs to the queues; without Redis it drains the inbox itself.

Two schedulers do no harm: each slot is taken in the database by one of them. The one that took
a slot and could not hand it over gives it back.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from crm.jobs import housekeeping
from crm.jobs.context import job_context
from crm.jobs.schedule import SCHEDULE, SWEEP, Scheduled
from crm.operations import bus, schedule
from crm.values.clock import utc_now

log = logging.getLogger(__name__)
TICK_SECONDS = 2.0
BEAT_SECONDS = 10


class Scheduler:
    """Remembers which slots are done, so that an idle tick asks the database nothing."""

    def __init__(self, jobs: tuple[Scheduled, ...] = SCHEDULE) -> None:
        self.jobs = jobs
        self._done: dict[str, datetime] = {}
        self._beaten_at: datetime | None = None
        # True at the start too: what came before it may wait with nobody woken.
        self._queue_was_away = True

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop``; a database out of reach is asked again at the next tick."""
        while not stop.is_set():
            try:
                self.tick(utc_now())
            except SQLAlchemyError as error:
                log.warning("scheduler: the database does not answer: %s", type(error).__name__)
            stop.wait(TICK_SECONDS)

    def tick(self, now: datetime) -> list[str]:
        """Run what is due at ``now``; the names of what was run or handed over."""
        with job_context():
            self._beat(now)
            if not redis_answers():
                return self._without_queue()
            if self._queue_was_away:
                housekeeping.wake_worker()
                self._queue_was_away = False
            due = [job for job in self.jobs if self._done.get(job.name) != job.slot(now)]
            return [job.name for job in due if self._hand_over(job, now)]

    def _without_queue(self) -> list[str]:
        """The row in the inbox is the truth: a client who calls now waits two seconds at most."""
        self._queue_was_away = True
        if SWEEP not in self.jobs:
            return []
        housekeeping.drain_without_queue()
        return [SWEEP.name]

    def _beat(self, now: datetime) -> None:
        if self._beaten_at is None or (now - self._beaten_at).total_seconds() >= BEAT_SECONDS:
            schedule.beat()
            self._beaten_at = now

    def _take(self, job: Scheduled, now: datetime) -> bool:
        taken = schedule.take_slot(job.name, job.slot(now))
        self._done[job.name] = job.slot(now)
        return taken

    def _hand_over(self, job: Scheduled, now: datetime) -> bool:
        if not self._take(job, now):
            return False
        try:
            bus.enqueue_now(job.queue, job.function, job_id=job.job_id)
        except RedisError:
            log.warning("scheduler: the queue went away, %s stays due", job.name)
            schedule.give_back(job.name, job.slot(now), job.period)
            del self._done[job.name]
            return False
        return True


def redis_answers() -> bool:
    """Whether the queue is within reach."""
    try:
        return bool(bus.redis().ping())
    except RedisError:
        return False
