"""The product under the storm: its processes, its database, and the blows that they take."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

import config
from benchmarks.storm_sender import HOST
from crm import embedded
from crm.supervisor import answers, crm_argv, events_argv, kill_session, web_argv

START_SECONDS = 90.0
STOP_SECONDS = 15.0
MACHINE_SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
# How the storm's own connections are told from the product's.
OURS = "kvartal-storm"
LEAST_BLOWS = 5
# The longest time that something stays dead before it is started again.
_DOWN_SECONDS = 2.0
_REVIVE_SECONDS = 1.0
_KINDS = ("worker", "redis", "cron", "database")
# What the product must have of whoever runs the storm.
_KEPT = ("PATH", "HOME", "LANG", "SECRET_KEY", "ENCRYPTION_KEYS")


# --- the database -----------------------------------------------------------------------------


@contextmanager
def database() -> Iterator[str]:
    """Address of a fresh PostgreSQL database, which is dropped afterwards.

    On the server of ``BENCH_DATABASE_URL``, else of this machine, else on one started for it.
    """
    configured = os.environ.get("BENCH_DATABASE_URL")
    found = configured or (MACHINE_SERVER if _accepts(MACHINE_SERVER) else None)
    if found:
        with _own_database(found) as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="kvartal-storm-pg-") as folder:
        server = embedded.start_postgres(Path(folder))
        if server is None:
            raise SystemExit("no PostgreSQL: set BENCH_DATABASE_URL")
        try:
            with _own_database(server.url) as url:
                yield url
        finally:
            server.stop()


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the storm's own, which no blow hits; each statement commits itself."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, application_name=OURS, connect_timeout=5)


def _accepts(url: str) -> bool:
    try:
        connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _own_database(server: str) -> Iterator[str]:
    name = f"kvartal_storm_{os.getpid()}"
    with connect(server) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        url = make_url(server).set(drivername="postgresql+psycopg", database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with connect(server) as admin:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))


# --- the processes ----------------------------------------------------------------------------


@dataclass
class Service:
    """A program in a session of its own, so that no fork of it can be forgotten."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    logs: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.logs / f"{self.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.argv,
                env=dict(self.env),
                cwd=config.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=embedded.die_with_parent,  # noqa: PLW1509 - no threads here
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to it and all its forks."""
        if self.process is not None:
            kill_session(self.process.pid)
            self.process.wait()
            self.process = None


class Product:
    """Web server, event stream, worker, scheduler and Redis over one instance folder."""

    def __init__(self, instance: Path, url: str, logs: Path, port: int) -> None:
        self.url, self.port, self.logs = url, port, logs
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        env = kept | {
            "INSTANCE_DIR": str(instance),
            "DATABASE_URL": url,
            "REDIS_URL": embedded.redis_url(instance, {}),
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        settings = config.load(env)
        self._socket = embedded.redis_socket(instance)
        argv = {
            "redis": embedded.redis_argv(instance),
            "web": web_argv(settings, HOST),
            "events": events_argv(settings, HOST),
            "worker": crm_argv("worker"),
            "cron": crm_argv("cron"),
        }
        self.services = {name: Service(name, line, env, logs) for name, line in argv.items()}

    def start(self, *, worker: bool = True) -> None:
        """Start everything and wait until the site answers; the worker may be left for later."""
        self.services["redis"].start()
        self._wait(lambda: embedded.redis_answers(self._socket), "redis")
        self.services["web"].start()
        self._wait(lambda: answers(HOST, self.port, "/login/"), "web")
        for name in ("events", "worker", "cron") if worker else ("events",):
            self.services[name].start()

    def start_worker(self) -> None:
        """What `start` has left for later."""
        for name in ("worker", "cron"):
            self.services[name].start()

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as the supervisor would; the names."""
        found = [
            name
            for name, service in self.services.items()
            if service.process is not None and not service.alive
        ]
        for name in found:
            self.services[name].kill()
            self.services[name].start()
        return found

    def stop(self) -> None:
        """End all of them, Redis last; who does not obey is killed."""
        last = [self.services["redis"]]
        for group in ([one for one in self.services.values() if one not in last], last):
            for service in group:
                service.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while any(one.alive for one in group) and time.monotonic() < deadline:
                time.sleep(0.05)
            for service in group:
                service.kill()

    def cut_connections(self) -> int:
        """End every connection of the product to its database; how many there were."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> %s"
        )
        with connect(self.url) as own:
            row = own.execute(query, [OURS]).fetchone()
        return int(str(row[0])) if row else 0

    def _wait(self, ready: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if not self.services[name].alive or time.monotonic() > deadline:
                said = embedded.tail(self.logs / f"{name}.log", 30)
                raise SystemExit(f"{name} does not start:\n{said}")
            time.sleep(0.05)


# --- the blows --------------------------------------------------------------------------------


@dataclass
class Blows:
    """Kills one part after another, every ``pause`` seconds, and starts it again soon."""

    product: Product
    pause: float
    most: int
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    fallen: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    _next_at: float = 0.0
    _revive_at: float = 0.0
    _turn: int = 0
    _to_start: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rnd = random.Random(self.seed)
        self._next_at = time.monotonic() + self.pause

    @property
    def enough(self) -> bool:
        """Everything was hit at least five times, or as often as it may be, and runs again."""
        often = self.is_over or all(self.counts[kind] >= LEAST_BLOWS for kind in _KINDS)
        return often and not self._to_start

    @property
    def is_over(self) -> bool:
        """Nothing will be hit any more."""
        return self.counts.total() >= self.most * len(_KINDS)

    def stop(self) -> None:
        """Hit nothing any more."""
        self.most = 0

    def step(self) -> None:
        """Start what has been dead long enough or fell by itself; strike when it is time."""
        now = time.monotonic()
        if now >= self._revive_at:
            self.fallen.update(self.product.revive())
            self._revive_at = now + _REVIVE_SECONDS
        for name in [name for name, at in self._to_start.items() if now >= at]:
            self.product.services[name].start()
            del self._to_start[name]
        if not self.is_over and now >= self._next_at:
            self._strike(_KINDS[self._turn % len(_KINDS)])
            self._turn += 1
            self._next_at = now + self.pause * (0.5 + self._rnd.random())

    def _strike(self, kind: str) -> None:
        self.counts[kind] += 1
        if kind == "database":
            self.connections += self.product.cut_connections()
            return
        self.product.services[kind].kill()
        self._to_start[kind] = time.monotonic() + self._rnd.random() * _DOWN_SECONDS
