from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from redis.exceptions import ConnectionError as NoRedis

from crm.jobs import context, cron
from crm.jobs.cron import Scheduler
from crm.jobs.schedule import SCHEDULE, SWEEP, Scheduled
from crm.models import AuthSession, BrowserEvent, Employee, JobSlot, db
from crm.operations import bus, schedule
from crm.security import sessions
from crm.values.clock import utc_now

NOON = dt.datetime(2026, 11, 24, 12, 0, 0, tzinfo=dt.UTC)
EVERY_MINUTE = Scheduled("minute", "default", "tests.jobs.sample_jobs.fail", 60)


def seconds(count: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=count)


def test_slots_begin_at_whole_periods() -> None:
    assert EVERY_MINUTE.slot(seconds(61.5)) == seconds(60)
    assert SWEEP.slot(seconds(39.9)) == seconds(20)


def test_slot_is_taken_once(app: Flask) -> None:
    assert schedule.take_slot("x", NOON)
    assert not schedule.take_slot("x", NOON)
    assert schedule.take_slot("x", seconds(60))
    assert not schedule.take_slot("x", NOON)


def test_slot_given_back_is_due_again(app: Flask) -> None:
    schedule.take_slot("x", NOON)
    schedule.give_back("x", NOON, dt.timedelta(minutes=1))
    assert schedule.take_slot("x", NOON)


def test_every_slot_once_even_with_two_schedulers_and_a_restart(
    app: Flask, live_redis: Redis
) -> None:
    first, second = Scheduler((EVERY_MINUTE,)), Scheduler((EVERY_MINUTE,))
    ran = [first.tick(seconds(at)) + second.tick(seconds(at)) for at in (0, 2, 58, 60, 62)]
    assert ran == [["minute"], [], [], ["minute"], []]
    assert Scheduler((EVERY_MINUTE,)).tick(seconds(64)) == []
    # Minutes of standstill: the job is due once, not once a missed slot.
    assert Scheduler((EVERY_MINUTE,)).tick(seconds(600)) == ["minute"]


def test_a_slow_queue_does_not_pile_up(app: Flask, live_redis: Redis) -> None:
    scheduler = Scheduler((EVERY_MINUTE,))
    for minute in range(5):
        scheduler.tick(seconds(60 * minute))
    assert bus.queue("default").count == 1


def test_a_job_of_a_killed_worker_is_handed_over_again(app: Flask, live_redis: Redis) -> None:
    scheduler, queue = Scheduler((EVERY_MINUTE,)), bus.queue("default")
    scheduler.tick(NOON)
    job = queue.fetch_job(EVERY_MINUTE.job_id)
    assert job is not None
    queue.remove(job)
    with live_redis.pipeline() as pipeline:
        job.prepare_for_execution("busy", pipeline)
        pipeline.execute()
    live_redis.hset("rq:worker:busy", "birth", "now")
    scheduler.tick(seconds(60))
    assert queue.count == 0, "its worker lives and has it in hand"
    live_redis.delete("rq:worker:busy")
    scheduler.tick(seconds(120))
    assert queue.count == 1


def test_without_redis_the_inbox_is_drained_here(
    app: Flask, live_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("drain_without_queue", "wake_worker"):
        monkeypatch.setattr(cron.housekeeping, name, lambda name=name: done.append(name))
    scheduler = Scheduler((SWEEP, EVERY_MINUTE))
    app.extensions["redis"] = Redis(port=1)
    assert scheduler.tick(NOON) == ["sweep"]
    assert scheduler.tick(seconds(2)) == ["sweep"]
    app.extensions["redis"] = live_redis
    assert scheduler.tick(seconds(4)) == ["sweep", "minute"]
    assert scheduler.tick(seconds(6)) == []
    assert done == ["drain_without_queue", "drain_without_queue", "wake_worker"]


def test_a_new_scheduler_wakes_the_worker_once(
    app: Flask, live_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(cron.housekeeping, "wake_worker", lambda: woken.append(1))
    scheduler = Scheduler((EVERY_MINUTE,))
    scheduler.tick(NOON)
    scheduler.tick(seconds(2))
    assert len(woken) == 1


def test_jobs_wait_for_redis_and_run_when_it_is_back(app: Flask, live_redis: Redis) -> None:
    scheduler = Scheduler((EVERY_MINUTE,))
    app.extensions["redis"] = Redis(port=1)
    assert scheduler.tick(NOON) == []
    app.extensions["redis"] = live_redis
    assert scheduler.tick(seconds(2)) == ["minute"]


def test_slot_survives_a_queue_that_goes_away_meanwhile(
    app: Flask, live_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler((EVERY_MINUTE,))

    def broken(*_args: Any, **_options: Any) -> None:
        raise NoRedis

    with monkeypatch.context() as patched:
        patched.setattr(bus, "enqueue_now", broken)
        assert scheduler.tick(NOON) == []
    assert scheduler.tick(seconds(2)) == ["minute"]


def test_scheduler_shows_that_it_lives(app: Flask, live_redis: Redis) -> None:
    assert schedule.last_beat() is None
    Scheduler(()).tick(utc_now())
    beat = schedule.last_beat()
    assert beat is not None
    assert utc_now() - beat < dt.timedelta(seconds=5)


def test_runs_until_told_to_stop(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(context._process, "app", committed)
    stop, scheduler = threading.Event(), Scheduler(())
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    while scheduler._beaten_at is None:
        thread.join(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert db.session.get(JobSlot, schedule.SCHEDULER) is not None


def test_purge_takes_only_what_is_dead(app: Flask, people: dict[str, Employee]) -> None:
    now = utc_now()
    kept = sessions.open_session(people["manager"].id, hours=1)
    sessions.open_session(people["manager"].id, hours=-1)
    idle = AuthSession(
        token_hash="i" * 64,
        user_id=people["manager"].id,
        seen_at=now - dt.timedelta(hours=80),
        expires_at=now + dt.timedelta(hours=9),
    )
    old = BrowserEvent(kind="x", created_at=now - dt.timedelta(days=3))
    db.session.add_all([idle, old, BrowserEvent(kind="x")])
    db.session.commit()
    assert schedule.purge(idle_hours=72) == (1, 2)
    left = list(db.session.query(AuthSession))
    assert [row.token_hash for row in left] == [sessions.fingerprint(kept)]


def test_schedule_names_real_jobs() -> None:
    assert {job.queue for job in SCHEDULE} <= set(bus.QUEUES)
    assert len({job.name for job in SCHEDULE}) == len(SCHEDULE)
