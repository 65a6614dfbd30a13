"""A job that a killed worker had in hand, while what is left of it in Redis expires."""

from __future__ import annotations

from flask import Flask
from redis import Redis
from rq import Worker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from crm.operations import bus

JOB = "tests.jobs.sample_jobs.fail"


def begun(client: Redis, name: str = "once") -> tuple[Job, Execution]:
    """The job, begun by a worker that was killed at once."""
    bus.enqueue_now("calls", JOB, 1, job_id=name)
    queue = bus.queue("calls")
    worker = Worker([queue], connection=client, serializer=JSONSerializer, name="killed")
    job = queue.fetch_job(name)
    assert job is not None
    queue.remove(job)
    execution = worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    client.delete(worker.key)
    return job, execution


def test_it_is_queued_anew_when_half_of_it_has_expired(app: Flask, live_redis: Redis) -> None:
    job, execution = begun(live_redis)
    started = bus.queue("calls").started_job_registry
    assert live_redis.zcard(started.key) == 1
    # RQ keeps the entry of an execution a minute longer than the execution itself.
    live_redis.delete(execution.key)
    bus.enqueue_now("calls", JOB, 1, job_id=job.id)
    assert bus.queue("calls").get_job_ids() == [job.id]
    # Else the next cleaning would take the new job for the lost one.
    assert live_redis.zcard(started.key) == 0


def test_it_is_queued_anew_when_nothing_has_expired_yet(app: Flask, live_redis: Redis) -> None:
    job, _execution = begun(live_redis)
    bus.enqueue_now("calls", JOB, 1, job_id=job.id)
    assert bus.queue("calls").get_job_ids() == [job.id]
    assert live_redis.zcard(bus.queue("calls").started_job_registry.key) == 0
