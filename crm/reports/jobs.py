"""The queues, their workers, failed jobs and the schedule, as the administrator sees them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field

from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from sqlalchemy import select

from crm.models import JobSlot, db
from crm.operations import bus
from crm.reports.health import SCHEDULER, WORKERS_KEY
from crm.values.clock import utc_now

FAILED_SHOWN = 50
_ERROR_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class QueueState:
    """Length of a queue and the age of its oldest job: the age is what alarms."""

    name: str
    waiting: int
    running: int
    failed: int
    oldest: dt.timedelta | None


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that gave up."""

    id: str
    queue: str
    function: str
    arguments: str
    failed_at: dt.datetime | None
    error: str
    details: str


@dataclass(frozen=True, slots=True)
class State:
    """Everything at once; ``reachable`` False: Redis does not answer, the rest is unknown."""

    reachable: bool
    queues: list[QueueState] = field(default_factory=list)
    lanes: list[str] = field(default_factory=list)
    failed: list[FailedJob] = field(default_factory=list)


def state() -> State:
    """The queues now."""
    try:
        return State(
            reachable=True,
            queues=[_queue(bus.queue(name)) for name in bus.QUEUES],
            lanes=_lanes(),
            failed=_failed(),
        )
    except RedisError:
        return State(reachable=False)


def slots() -> dict[str, JobSlot]:
    """Last slot of each scheduled job by name; the scheduler's own life among them."""
    return {row.name: row for row in db.session.scalars(select(JobSlot))}


def scheduler_seen(found: dict[str, JobSlot]) -> dt.datetime | None:
    """When the scheduler lived last."""
    row = found.get(SCHEDULER)
    return row.slot_at if row else None


def _queue(queue: Queue) -> QueueState:
    oldest = None
    first = queue.get_job_ids(0, 1)
    if first:
        job = queue.fetch_job(first[0])
        if job is not None and job.enqueued_at is not None:
            oldest = utc_now() - _aware(job.enqueued_at)
    return QueueState(
        name=queue.name,
        waiting=queue.count,
        running=StartedJobRegistry(queue=queue).count,
        failed=FailedJobRegistry(queue=queue).count,
        oldest=oldest,
    )


def _lanes() -> list[str]:
    told = bus.redis().get(WORKERS_KEY)
    return list(json.loads(told)) if isinstance(told, (bytes, str)) else []


def _failed() -> list[FailedJob]:
    found: list[FailedJob] = []
    for name in bus.QUEUES:
        registry = FailedJobRegistry(queue=bus.queue(name))
        ids = registry.get_job_ids(0, FAILED_SHOWN - 1, desc=True)
        jobs = Job.fetch_many(ids, connection=bus.redis(), serializer=JSONSerializer)
        found += [_failed_job(name, job) for job in jobs if job is not None]
    beginning = dt.datetime.min.replace(tzinfo=dt.UTC)
    found.sort(key=lambda job: job.failed_at or beginning, reverse=True)
    return found[:FAILED_SHOWN]


def _failed_job(queue: str, job: Job) -> FailedJob:
    result = job.latest_result()
    text = (result.exc_string if result else None) or ""
    return FailedJob(
        id=job.id,
        queue=queue,
        function=job.func_name or "",
        arguments=", ".join(str(argument) for argument in job.args or ()),
        failed_at=_aware(job.ended_at) if job.ended_at else None,
        error=next((line for line in reversed(text.splitlines()) if line.strip()), "")[:300],
        details=text[-_ERROR_LENGTH:],
    )


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
