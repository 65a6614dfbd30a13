from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from rq import Retry, SimpleWorker
from rq.registry import FailedJobRegistry

from crm import embedded
from crm.jobs import context, worker
from crm.jobs.context import job_context
from crm.models import Employee, db
from crm.operations import bus
from tests.conftest import SECRET

JOBS = "tests.jobs.sample_jobs."
ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def process(
    committed: Flask, live_redis: Redis, redis_url: str, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """``crm worker`` as it runs in production."""
    env = {
        **os.environ,
        "INSTANCE_DIR": str(tmp_path),
        "SECRET_KEY": SECRET,
        "REDIS_URL": redis_url,
        "DATABASE_URL": committed.config["SQLALCHEMY_DATABASE_URI"],
        "PYTHONPATH": str(ROOT),
    }
    start = "from crm.cli import main; main(prog_name='crm')"
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-c", start, "worker"], env=env, cwd=ROOT, stderr=log
        )
    try:
        wait_for(lambda: live_redis.exists(worker.ALIVE_KEY) == 1, 60)
        yield running
    finally:
        if running.poll() is None:
            running.kill()
            running.wait(5)


def children(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(part) for part in text.split()}


def ran(path: Path) -> tuple[int, int]:
    """Which process ran `write_pid`, and how many people it saw."""
    wait_for(lambda: path.exists() and len(path.read_text().split()) == 3)
    pid, people, _name = path.read_text().split()
    return int(pid), int(people)


def test_each_queue_has_a_lane_of_its_own(
    process: subprocess.Popen[bytes], live_redis: Redis, tmp_path: Path
) -> None:
    seen = {}
    for name in bus.QUEUES:
        bus.enqueue_now(name, JOBS + "write_pid", str(tmp_path / name))
        seen[name] = ran(tmp_path / name)
    assert {people for _pid, people in seen.values()} == {7}
    lanes = children(process.pid)
    # One lane keeps connections to PBXs open instead of running jobs.
    assert len(lanes) == len(bus.QUEUES) + 1
    # Calls run in the lane itself, a feed in a fork whose memory goes back at the end.
    assert seen["calls"][0] in lanes
    assert seen["feeds"][0] not in lanes

    # A long feed does not delay a call.
    bus.enqueue_now("feeds", JOBS + "sleep", str(tmp_path / "long"), 20)
    wait_for((tmp_path / "long").exists)
    begun = time.monotonic()
    bus.enqueue_now("calls", JOBS + "write_pid", str(tmp_path / "call"))
    ran(tmp_path / "call")
    assert time.monotonic() - begun < 3

    # A killed lane is back at once, and the others do not notice.
    os.kill(seen["calls"][0], signal.SIGKILL)
    killed = seen["calls"][0]
    wait_for(lambda: len(children(process.pid) - {killed}) == len(lanes))
    bus.enqueue_now("calls", JOBS + "write_pid", str(tmp_path / "again"))
    assert ran(tmp_path / "again")[0] != seen["calls"][0]

    # The end comes in time even though a job is running, and nobody stays behind.
    left = {*children(process.pid), int((tmp_path / "long").read_text())}
    process.terminate()
    assert process.wait(12) == 0
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    assert live_redis.exists(worker.ALIVE_KEY) == 0


def test_a_failed_job_is_kept_with_its_reason(
    process: subprocess.Popen[bytes], live_redis: Redis
) -> None:
    bus.enqueue_now("calls", JOBS + "fail", 5, job_id="failing")
    registry = FailedJobRegistry(queue=bus.queue("calls"))
    wait_for(lambda: registry.count == 1)
    job = bus.queue("calls").fetch_job("failing")
    assert job is not None
    assert "нет такой записи" in (job.latest_result().exc_string or "")
    assert 29 * 24 * 3600 < live_redis.ttl(job.key) <= bus.FAILURE_TTL


def test_a_retry_comes_after_its_pause(process: subprocess.Popen[bytes], live_redis: Redis) -> None:
    queue = bus.queue("default")
    queue.enqueue(JOBS + "fail", 1, job_id="again", retry=Retry(max=1, interval=[1]))
    registry = FailedJobRegistry(queue=queue)
    wait_for(lambda: registry.count == 1, 25)
    job = queue.fetch_job("again")
    assert job is not None
    assert job.retries_left == 0


def test_a_lane_that_falls_waits_longer_each_time() -> None:
    lane = worker.Lane("calls", lambda: None)
    pauses = []
    for _ in range(7):
        lane.started_at = 100.0
        lane.fallen(101.0, 1)
        pauses.append(lane.start_at - 101.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    lane.fallen(101.0, 0)
    assert lane.start_at == 101.0


def test_a_lane_without_its_queue_asks_for_it_every_second(
    live_redis: Redis, redis_url: str
) -> None:
    lane = worker.Lane("calls", lambda: None)
    for _ in range(7):
        lane.started_at = 100.0
        lane.fallen(101.0, worker.NO_QUEUE)
        assert lane.start_at == 102.0
    made = worker.make_worker(redis_url, ("calls",), SimpleWorker)
    assert made.max_connection_wait_time == 1.0


def test_worker_survives_a_restart_of_redis(committed: Flask, tmp_path: Path) -> None:
    server = embedded.ensure_redis(tmp_path)
    assert server is not None
    url = embedded.redis_url(tmp_path, {})
    before = committed.extensions["redis"]
    committed.extensions["redis"] = Redis.from_url(url)
    try:
        bus.enqueue_now("default", JOBS + "write_pid", str(tmp_path / "kept"))
        server.terminate()
        server.wait(10)
        # Nothing in the queue is lost with the server.
        server = embedded.ensure_redis(tmp_path)
        assert server is not None
        worker.make_worker(url, ("default",), SimpleWorker).work(
            burst=True, logging_level="WARNING"
        )
        assert ran(tmp_path / "kept")[1] == 7
    finally:
        committed.extensions["redis"].close()
        committed.extensions["redis"] = before
        server.terminate()
        server.wait(10)


# --- context --------------------------------------------------------------------------------------


def test_job_has_a_session_of_its_own(app: Flask, people: dict[str, Employee]) -> None:
    outer = db.session()
    with job_context() as inner:
        assert inner is app
        assert db.session() is not outer
    assert db.session() is outer


def test_job_outside_the_application_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context, "_process", context._Process())
    with pytest.raises(RuntimeError, match="crm worker"), job_context():
        pytest.fail("there is no application")
