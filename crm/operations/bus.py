"""Outside effects: events for open browsers and wake-ups of the workers.

Both go through Redis after the commit and both can be lost without harm: the
event's row is there for polling browsers, the work's row for the sweeper.
"""

from __future__ import annotations

import json
from typing import Any

from flask import current_app
from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from crm.models import BrowserEvent, db
from crm.operations.transaction import after_commit

CHANNEL = "kvartal:events"
QUEUES = ("calls", "default", "feeds", "sync")
# Seconds a job of the queue may run.
TIMEOUTS = {"calls": 120, "default": 600, "feeds": 3600, "sync": 3600}
FAILURE_TTL = 30 * 24 * 3600


def redis() -> Redis:
    """The application's Redis connection (pooled, short time-outs)."""
    client: Redis = current_app.extensions["redis"]
    return client


def queue(name: str) -> Queue:
    """RQ queue by name; arguments travel as JSON, so only ids and plain values."""
    return Queue(
        name, connection=redis(), serializer=JSONSerializer, default_timeout=TIMEOUTS[name]
    )


def enqueue(name: str, function: str, *args: Any, job_id: str | None = None) -> None:
    """Queue ``function`` (dotted name) after the commit.

    With ``job_id`` at most one such job waits or runs; one that nobody will finish is replaced.
    """
    after_commit(lambda: enqueue_now(name, function, *args, job_id=job_id))


def enqueue_now(name: str, function: str, *args: Any, job_id: str | None = None) -> None:
    """Queue at once; raises RedisError when the queue is unreachable."""
    target = queue(name)
    options: dict[str, Any] = {"failure_ttl": FAILURE_TTL, "result_ttl": 0}
    if job_id is None:
        target.enqueue(function, *args, **options)
        return
    try:
        target.enqueue(function, *args, job_id=job_id, unique=True, **options)
    except DuplicateJobError:
        _replace_dead(target, function, args, job_id, options)


def _replace_dead(
    target: Queue, function: str, args: tuple[Any, ...], job_id: str, options: dict[str, Any]
) -> None:
    job = target.fetch_job(job_id)
    if job is not None and _is_dead(job):
        _forget_executions(target, job)
        job.delete()
        target.enqueue(function, *args, job_id=job_id, **options)


def _forget_executions(target: Queue, job: Job) -> None:
    """What a killed worker has left of the job expires bit by bit, and RQ fails on half of it."""
    registry = job.execution_registry
    begun = [f"{job.id}:{pk}" for pk in registry.get_execution_ids()]
    if begun:
        redis().zrem(target.started_job_registry.key, *begun)
        redis().delete(registry.key)


def _is_dead(job: Job) -> bool:
    """Over, or begun by a worker that was killed: its record is gone by now."""
    if job.is_failed or job.is_finished or job.is_stopped:
        return True
    return job.is_started and not redis().exists(f"rq:worker:{job.worker_name}")


def emit(kind: str, user_ids: list[int] | None = None, **data: Any) -> None:
    """Tell open browsers: ``kind`` and ids only, so no right is bypassed.

    ``user_ids`` None means everyone; an empty list means nobody.
    """
    targets: list[int | None] = [None] if user_ids is None else list(dict.fromkeys(user_ids))
    rows = [BrowserEvent(kind=kind, user_id=target, data=data) for target in targets]
    db.session.add_all(rows)
    after_commit(lambda: _publish(rows))


def _publish(rows: list[BrowserEvent]) -> None:
    for row in rows:
        message = {"id": row.id, "kind": row.kind, "to": row.user_id, "data": row.data}
        redis().publish(CHANNEL, json.dumps(message))
