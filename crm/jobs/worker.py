"""``crm worker``: one parent that has loaded the application, and a forked lane per queue.

Lanes keep a feed build away from a pop-up: *calls* runs its jobs in its own process (a fork
costs more than the job) and is replaced after some of them; *default* likewise; *feeds* forks
for each job, so that what a long build has grown to is given back; *pbx* runs no jobs, it keeps
the connections to PBXs open. The lanes share the parent's memory. A fallen lane is forked again
at once, then after growing pauses.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from flask import Flask
from redis import Redis
from redis.exceptions import RedisError
from rq import SimpleWorker, Worker
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from crm.embedded import die_with_parent
from crm.jobs.cron import Scheduler
from crm.jobs.pbx import run_pbx
from crm.operations import bus

log = logging.getLogger(__name__)
# Whoever asks after the workers looks here; the key dies with them.
ALIVE_KEY = "kvartal:workers"
ALIVE_SECONDS = 20
BEAT_SECONDS = 5.0
# A lane that runs jobs in its own process is replaced after so many.
JOBS_PER_LIFE = 1000
# A dead worker's record goes away after this.
WORKER_TTL = 60
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)
# How often a queue that does not answer is asked again: a client may be calling when it is back.
ASK_AGAIN_SECONDS = 1.0
# A lane's exit code that says the queue did not answer.
NO_QUEUE = 3
STEADY_SECONDS = 30.0
GRACE_SECONDS = 6.0
FORCE_SECONDS = 2.0


@dataclass
class Lane:
    """One forked process and what it does."""

    name: str
    work: Callable[[], None]
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    crashes: int = 0

    def fallen(self, now: float, code: int) -> None:
        """Plan the next start by the exit code; a lane that ended as it should starts at once."""
        self.pid = 0
        if code == NO_QUEUE:
            self.start_at = now + ASK_AGAIN_SECONDS
            return
        steady = code == 0 or now - self.started_at > STEADY_SECONDS
        self.crashes = 0 if steady else self.crashes + 1
        self.start_at = now + PAUSES[min(self.crashes, len(PAUSES) - 1)]


@dataclass
class Lanes:
    """Keeps the lanes alive until a signal, and moves retries whose time has come."""

    lanes: Sequence[Lane]
    redis: Redis
    delayed: RQScheduler
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Fork the lanes and watch them; SIGTERM and SIGINT end all."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        gc.collect()
        gc.freeze()  # collected generations would be copied into every lane
        beaten_at = 0.0
        while not self.stopping.is_set():
            self._start_due(time.monotonic())
            self._reap()
            if time.monotonic() - beaten_at >= BEAT_SECONDS:
                self._beat()
                beaten_at = time.monotonic()
            self.stopping.wait(0.2)
        self._end()

    def _start_due(self, now: float) -> None:
        for lane in self.lanes:
            if not lane.pid and now >= lane.start_at:
                lane.started_at = now
                lane.pid = os.fork()
                if lane.pid == 0:
                    _live(lane)

    def _reap(self) -> None:
        for lane in self.lanes:
            if not lane.pid:
                continue
            pid, status = os.waitpid(lane.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                if code:
                    log.warning("worker: lane %s ended with code %s", lane.name, code)
                lane.fallen(time.monotonic(), code)

    def _beat(self) -> None:
        alive = [lane.name for lane in self.lanes if lane.pid]
        try:
            self.redis.set(ALIVE_KEY, json.dumps(alive), ex=ALIVE_SECONDS)
            # What a worker `with_scheduler` would keep a process for; the lock lives 65 s.
            if self.delayed.acquire_locks():  # type: ignore[no-untyped-call]
                self.delayed.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
        except RedisError:
            log.warning("worker: the queue does not answer")

    def _end(self) -> None:
        """Let running jobs finish for a while; what is left is killed and runs again later."""
        for number, seconds in (
            (signal.SIGTERM, GRACE_SECONDS),
            # The second one makes a lane kill the fork in which its job runs.
            (signal.SIGTERM, FORCE_SECONDS),
            (signal.SIGKILL, FORCE_SECONDS),
        ):
            self._signal(number)
            deadline = time.monotonic() + seconds
            while any(lane.pid for lane in self.lanes) and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.05)
        try:
            self.delayed.release_locks()  # type: ignore[no-untyped-call]
            self.redis.delete(ALIVE_KEY)
        except RedisError:
            log.warning("worker: the queue does not answer")

    def _signal(self, number: signal.Signals) -> None:
        for lane in self.lanes:
            if lane.pid:
                os.kill(lane.pid, number)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()


def _live(lane: Lane) -> None:
    """A lane's whole life, in its own process; never returns."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()
    code = 1
    try:
        lane.work()
        code = 0
    except RedisError as error:
        log.warning("worker: lane %s: %s", lane.name, type(error).__name__)
        code = NO_QUEUE
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def connect(url: str) -> Redis:
    """A connection of a worker's own: its reads wait long, those of pages do not."""
    return Redis.from_url(url, socket_connect_timeout=2, health_check_interval=30)


def make_worker(url: str, queues: Sequence[str], kind: type[BaseWorker]) -> BaseWorker:
    """An RQ worker of our queues: JSON arguments, our time limits and log."""
    made = kind(
        list(queues),
        connection=connect(url),
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL,
        log_job_description=False,
        default_result_ttl=0,
    )
    # RQ doubles its pauses up to a minute, and would sleep on when the queue is back.
    made.max_connection_wait_time = ASK_AGAIN_SECONDS
    return made


def build_lanes(app: Flask, *, with_cron: bool = False) -> Lanes:
    """The lanes of this process; ``with_cron`` adds the scheduler to them."""
    url = app.config["REDIS_URL"] or "redis://127.0.0.1:6379/0"
    lanes = [
        Lane("calls", lambda: _serve(url, ("calls",), SimpleWorker)),
        Lane("default", lambda: _serve(url, ("default", "calls"), SimpleWorker)),
        Lane("feeds", lambda: _serve(url, ("feeds",), Worker)),
        # Operators prepare their lists for minutes: nothing else may wait behind them.
        Lane("sync", lambda: _serve(url, ("sync",), SimpleWorker)),
        Lane("pbx", run_pbx),
    ]
    if with_cron:
        lanes.append(Lane("cron", run_cron))
    connection = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
    delayed = RQScheduler(
        list(bus.QUEUES),
        connection=connection,
        serializer=JSONSerializer,
        interval=int(BEAT_SECONDS),
        logging_level="WARNING",
    )
    return Lanes(lanes, connection, delayed)


def _serve(url: str, queues: Sequence[str], kind: type[BaseWorker]) -> None:
    max_jobs = JOBS_PER_LIFE if kind is SimpleWorker else None
    make_worker(url, queues, kind).work(logging_level="WARNING", max_jobs=max_jobs)


def run_cron() -> None:
    """The scheduler, until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_args: stop.set())
    Scheduler().run(stop)
