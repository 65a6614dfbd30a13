from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis

from crm import embedded


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis for the tests of jobs."""
    instance: Path = tmp_path_factory.mktemp("redis-jobs")
    process = embedded.ensure_redis(instance)
    assert process is not None
    yield embedded.redis_url(instance, {})
    process.terminate()
    process.wait(10)


@pytest.fixture
def live_redis(installed_app: Flask, redis_url: str) -> Iterator[Redis]:
    """The application talks to an empty real Redis."""
    before = installed_app.extensions["redis"]
    client = installed_app.extensions["redis"] = Redis.from_url(redis_url)
    client.flushall()
    yield client
    client.flushall()
    client.close()
    installed_app.extensions["redis"] = before
