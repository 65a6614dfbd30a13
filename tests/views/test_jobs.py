from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from crm import embedded
from crm.models import AuditEntry, db
from crm.operations import bus, schedule
from crm.reports.health import WORKERS_KEY
from crm.values.clock import utc_now


class QuietWorker(SimpleWorker):
    """A worker inside the test: no signals, no logs."""

    death_penalty_class = TimerDeathPenalty

    def _install_signal_handlers(self) -> None:
        pass


@pytest.fixture
def live_redis(app: Flask, tmp_path: Path) -> Iterator[Redis]:
    process = embedded.ensure_redis(tmp_path)
    assert process is not None
    before = app.extensions["redis"]
    client = app.extensions["redis"] = Redis.from_url(embedded.redis_url(tmp_path, {}))
    yield client
    client.close()
    app.extensions["redis"] = before
    process.terminate()
    process.wait(10)


def fail(queue: str = "calls", job_id: str = "bad-job") -> None:
    """Leave a failed job."""
    bus.enqueue_now(queue, "tests.jobs.sample_jobs.fail", 42, job_id=job_id)
    worker = QuietWorker([queue], connection=bus.redis(), serializer=JSONSerializer)
    worker.work(burst=True, logging_level="CRITICAL")


def test_page_without_redis_says_what_works_still(sign_in: Any) -> None:
    text = sign_in("admin").get("/settings/jobs").get_data(as_text=True)
    assert "Redis не отвечает" in text
    assert "Ничего не потеряно" in text
    assert "Расписание ещё не запускалось" in text


def test_page_shows_queues_and_the_schedule(sign_in: Any, live_redis: Redis) -> None:
    bus.enqueue_now("feeds", "tests.jobs.sample_jobs.fail", 1)
    live_redis.set(WORKERS_KEY, '["calls", "feeds"]')
    schedule.beat()
    schedule.take_slot("sweep", utc_now())
    text = sign_in("admin").get("/settings/jobs").get_data(as_text=True)
    assert "обработчики: calls, feeds" in text
    assert "Фиды и импорт" in text
    assert "Redis не отвечает" not in text
    assert "Расписание не работает" not in text
    assert "Неудачных заданий нет" in text


def test_failed_job_is_shown_retried_and_discarded(sign_in: Any, live_redis: Redis) -> None:
    fail()
    client = sign_in("admin")
    text = client.get("/settings/jobs").get_data(as_text=True)
    assert "tests.jobs.sample_jobs.fail(42)" in text
    assert "LookupError: нет такой записи" in text
    client.post("/settings/jobs/retry", data={"job": "bad-job"})
    assert bus.queue("calls").get_job_ids() == ["bad-job"]
    again = client.post("/settings/jobs/retry", data={"job": "bad-job"}, follow_redirects=True)
    assert "уже не в списке неудачных" in again.get_data(as_text=True)
    bus.queue("calls").empty()
    fail()
    client.post("/settings/jobs/discard", data={"job": "bad-job"})
    assert bus.queue("calls").fetch_job("bad-job") is None
    actions = {row.action for row in db.session.query(AuditEntry)}
    assert {"retry_job", "discard_job"} <= actions


@pytest.mark.parametrize("job", ["", "no-such", "x" * 400])
def test_unknown_jobs_are_refused(sign_in: Any, live_redis: Redis, job: str) -> None:
    answer = sign_in("admin").post("/settings/jobs/retry", data={"job": job}, follow_redirects=True)
    assert "Такого задания нет" in answer.get_data(as_text=True)


def test_acts_without_redis_are_refused_in_words(sign_in: Any) -> None:
    answer = sign_in("admin").post(
        "/settings/jobs/discard", data={"job": "x"}, follow_redirects=True
    )
    assert "Очередь не отвечает" in answer.get_data(as_text=True)


@pytest.mark.parametrize("person", ["manager", "director", "marketer"])
def test_only_administrators_by_default(sign_in: Any, visitor: Any, person: str) -> None:
    client = sign_in(person)
    assert client.get("/settings/jobs").status_code == 403
    assert visitor.get("/settings/jobs").status_code == 302
    for url in ("/settings/jobs/retry", "/settings/jobs/discard"):
        assert client.post(url, data={"job": "x"}).status_code == 403
        assert visitor.post(url, data={"job": "x"}).status_code == 302


def test_page_costs_few_queries(sign_in: Any, live_redis: Redis, count_queries: Any) -> None:
    client = sign_in("admin")
    with count_queries() as queries:
        client.get("/settings/jobs")
    assert len(queries) <= 12
