from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from crm import embedded
from crm.operations import schedule
from crm.reports import health
from crm.views.health import HealthView


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


def test_says_what_is_down(visitor: Any) -> None:
    answer = visitor.get("/health")
    assert answer.status_code == 503
    assert answer.json["database"] == "ok"
    assert {answer.json[name] for name in ("queue", "worker", "events", "scheduler")} == {"down"}
    assert set(answer.json) == {"database", "queue", "worker", "scheduler", "events", "version"}


def test_is_well_when_every_part_works(visitor: Any, live_redis: Redis) -> None:
    live_redis.set(health.WORKERS_KEY, '["calls"]')
    live_redis.set(health.EVENTS_KEY, "1")
    schedule.beat()
    answer = visitor.get("/health")
    assert answer.status_code == 200
    assert set(answer.json.values()) == {"ok", answer.json["version"]}


@pytest.mark.parametrize("part", ["worker", "events", "scheduler"])
def test_one_part_down_is_told(visitor: Any, live_redis: Redis, part: str) -> None:
    for name, key in (("worker", health.WORKERS_KEY), ("events", health.EVENTS_KEY)):
        if name != part:
            live_redis.set(key, "1")
    if part != "scheduler":
        schedule.beat()
    answer = visitor.get("/health")
    assert answer.status_code == 503
    assert [name for name, value in answer.json.items() if value == "down"] == [part]


def test_a_slow_part_does_not_hold_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    begun = time.monotonic()
    assert health._within(lambda: time.sleep(1) or True, False) is False
    assert time.monotonic() - begun < 0.8


def test_is_public_and_tells_no_secrets(visitor: Any) -> None:
    assert HealthView.health.kv_access == "public"
    text = visitor.get("/health").get_data(as_text=True)
    assert "redis" not in text.lower()
    assert "127.0.0.1" not in text
