"""``make run`` from beginning to end: one instance, one set of processes, ready in seconds."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config
from crm import embedded
from crm.supervisor import (
    START_SECONDS,
    Service,
    StartFailed,
    Supervisor,
    answers,
    crm_argv,
    events_argv,
    say,
    web_argv,
)

# Held by the process that runs the instance; its pid and address are in it.
_HOLDER = "supervisor.pid"


class RunError(RuntimeError):
    """The product cannot start; the text, for a person, says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What this start works with."""

    settings: Mapping[str, Any]
    instance: Path
    host: str
    env: Mapping[str, str]

    @property
    def port(self) -> int:
        return int(self.settings["PORT"])

    @property
    def local_host(self) -> str:
        """Where this machine itself reaches the product."""
        return "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104

    @property
    def logs(self) -> Path:
        return self.instance / "logs"


def plan(env: Mapping[str, str]) -> Plan:
    """Settings and the environment of the children."""
    settings = config.load(env)
    instance = Path(settings["INSTANCE_DIR"])
    children = {
        # Without compiled files each start would cost seconds more.
        **{name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "INSTANCE_DIR": str(instance),
        "REDIS_URL": embedded.redis_url(instance, env),
        "DEMO_MODE": env.get("DEMO_MODE", "1"),
        "PYTHONUNBUFFERED": "1",
        # Many threads with an arena each would hold memory that nobody uses.
        "MALLOC_ARENA_MAX": env.get("MALLOC_ARENA_MAX", "2"),
    }
    return Plan(settings, instance, env.get("BIND", "127.0.0.1"), children)


def running_at(instance: Path) -> str | None:
    """Address of the product that runs on this instance now; None when none does."""
    path = instance / _HOLDER
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip().partition(" ")[2] or None
    return None


@contextlib.contextmanager
def only_one(instance: Path, address: str) -> Iterator[None]:
    """Hold the instance for this process; raises ``RunError`` when another one holds it."""
    path = instance / _HOLDER
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid, _, where = file.read().strip().partition(" ")
            raise RunError(f"«Квартал» уже запущен: {where} (процесс {pid})") from error
        file.truncate(0)
        file.write(f"{os.getpid()} {address}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def check_port(host: str, port: int) -> None:
    """Raise ``RunError`` when the port cannot be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(
                f"Порт {port} занят или недоступен ({error.strerror}). "
                f"Возьмите другой, например: make run PORT={port + 10}"
            ) from error


# --- preparing the data -----------------------------------------------------------------------


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Changes when the code or the schema of the database may have changed since last time.

    Only SQLite's schema is looked up; the empty text for other databases means "not known".
    """
    uri = str(settings["SQLALCHEMY_DATABASE_URI"])
    if not uri.startswith("sqlite:///"):
        return ""
    digest = hashlib.sha256(uri.encode())
    digest.update(_sqlite_revision(Path(uri.removeprefix("sqlite:///"))).encode())
    for folder in ("crm", "migrations"):
        for path in sorted((config.ROOT / folder).rglob("*.py")):
            found = path.stat()
            digest.update(f"{path} {found.st_mtime_ns} {found.st_size}".encode())
    return digest.hexdigest()


def _sqlite_revision(path: Path) -> str:
    if not path.exists():
        return ""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.OperationalError:  # no such table: the database is empty
            return ""
    return ",".join(sorted(row[0] for row in rows))


def prepare(what: Plan) -> None:
    """Migrations, permissions and default data; on the first start also the demo agency."""
    path = what.instance / "prepared.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before = fingerprint(what.settings)
    if not before or known.get("fingerprint") != before:
        _crm_step(what, "База данных", "init")
    # The demo agency is loaded once: whoever has removed it does not want it back.
    if not known.get("demo") and what.env.get("KVARTAL_DEMO", "1") != "0":
        scale = what.env.get("KVARTAL_DEMO_SCALE")
        smaller = ("--scale", scale) if scale else ()
        _crm_step(what, "Демонстрационное агентство", "demo", "load", *smaller)
        known["demo"] = True
    done = {**known, "fingerprint": fingerprint(what.settings)}
    path.write_text(json.dumps(done, indent=1), encoding="utf-8")


def _crm_step(what: Plan, title: str, *arguments: str) -> None:
    print(f"  {title} …", end="", flush=True)
    started = time.monotonic()
    log = what.logs / "setup.log"
    with log.open("ab") as output:
        done = subprocess.run(
            crm_argv(*arguments),
            env=dict(what.env),
            cwd=config.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        command = " ".join(arguments)
        raise RunError(f"\ncrm {command}: код {done.returncode} ({log})\n{embedded.tail(log)}")
    say(f" {time.monotonic() - started:.1f} с")


# --- the run ----------------------------------------------------------------------------------


def _start_redis(supervisor: Supervisor, what: Plan) -> None:
    """Start the embedded Redis unless one is configured or left running."""
    target = embedded.redis_socket(what.instance)
    configured = what.env["REDIS_URL"] != embedded.redis_url(what.instance, {})
    if configured or embedded.redis_answers(target):
        return
    supervisor.add(Service("redis", embedded.redis_argv(what.instance), ends_last=True))
    supervisor.run(until=lambda: embedded.redis_answers(target))


def _start_site(supervisor: Supervisor, what: Plan) -> None:
    supervisor.add(Service("web", web_argv(what.settings, what.host)))
    supervisor.add(Service("events", events_argv(what.settings, what.host)))


def _start_background(supervisor: Supervisor) -> None:
    # One process fewer than two: the schedule needs little, a process of its own 100 MB.
    supervisor.add(Service("worker", crm_argv("worker", "--cron")))


def _wait_for(supervisor: Supervisor, what: Plan, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS

    def ready() -> bool:
        if time.monotonic() > deadline:
            raise RunError(f"Сайт не готов за {START_SECONDS:g} с ({path}): см. {what.logs}")
        return answers(what.local_host, what.port, path)

    supervisor.run(until=ready)


def _greet(what: Plan, seconds: float) -> None:
    say(f"\nКвартал готов за {seconds:.1f} с: {what.settings['PUBLIC_URL']}")
    done = subprocess.run(
        crm_argv("demo", "logins"),
        env=dict(what.env),
        cwd=config.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout.strip():
        say(f"\n{done.stdout.rstrip()}")
    say(f"\nЖурналы: {what.logs}. Остановить: Ctrl-C\n")


def _serve(what: Plan, started: float) -> None:
    supervisor = Supervisor(what.logs, what.env, verbose=what.env.get("VERBOSE") == "1")
    supervisor.listen()
    try:
        _start_redis(supervisor, what)
        if not supervisor.stopping:
            prepare(what)
            _start_site(supervisor, what)
            # All four at once would fight for the processor and delay the first page.
            _wait_for(supervisor, what, "/login/")
        if not supervisor.stopping:
            _start_background(supervisor)
            _wait_for(supervisor, what, "/health")
        supervisor.ready = not supervisor.stopping
        if supervisor.ready:
            _greet(what, time.monotonic() - started)
        supervisor.run()
        say("Останавливаю…")
    except StartFailed as error:
        log = what.logs / f"{error}.log"
        raise RunError(f"{error} не запускается:\n{embedded.tail(log, 25)}\n({log})") from error
    finally:
        supervisor.stop()


def main(env: Mapping[str, str] | None = None) -> int:
    """Run the product until a signal: 0 after an ordinary stop, 1 when it cannot start."""
    started = time.monotonic()
    try:
        what = plan(os.environ if env is None else env)
        os.chdir(config.ROOT)
        with only_one(what.instance, what.settings["PUBLIC_URL"]):
            check_port(what.host, what.port)
            check_port(what.host, what.port + 1)
            what.logs.mkdir(parents=True, exist_ok=True)
            _serve(what, started)
    except (RunError, embedded.EmbeddedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
