"""``crm run``: Redis, web, event stream, worker and scheduler of one machine under one process.

One thread and one ``select`` loop: it reads what the children print, starts a fallen one again
after a growing pause, and on SIGINT or SIGTERM ends all of them, Redis last. Nothing heavy is
imported here: this process stays resident beside the product.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import Any

from crm import embedded

LOG_BYTES = 5_000_000
LOG_FILES = 3
LINE_WIDTH = 160
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_SECONDS = 60.0
GRACE_SECONDS = 12.0
KILL_SECONDS = 3.0
START_SECONDS = 60.0
CRASHES_AT_START = 3
ALARMING = ("ERROR", "CRITICAL", "Traceback", "Exception")
EVENTS_APP = "crm.events:create_app()"


# --- what runs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A program to keep alive; one that ``ends_last`` is stopped after all others."""

    name: str
    argv: Sequence[str]
    ends_last: bool = False


def web_argv(settings: Mapping[str, Any], host: str = "127.0.0.1") -> list[str]:
    """Gunicorn for the pages and APIs; the application is loaded once and shared by its forks."""
    return [
        *_gunicorn(f"{host}:{settings['PORT']}"),
        *("--worker-class", "gthread", "--preload"),
        *("--workers", str(settings["WEB_WORKERS"]), "--threads", str(settings["WEB_THREADS"])),
        "app:app",
    ]


def events_argv(settings: Mapping[str, Any], host: str = "127.0.0.1") -> list[str]:
    """Gunicorn for the event stream: thousands of idle connections on green threads."""
    return [
        *_gunicorn(f"{host}:{settings['PORT'] + 1}"),
        *("--worker-class", "gevent", "--workers", "1", "--worker-connections", "5000"),
        EVENTS_APP,
    ]


def crm_argv(*arguments: str) -> list[str]:
    """Command line of ``crm ...`` that does not depend on PATH."""
    start = "from crm.cli import main; main(prog_name='crm')"
    return [sys.executable, "-c", start, *arguments]


def _gunicorn(bind: str) -> list[str]:
    memory = ["--worker-tmp-dir", "/dev/shm"] if Path("/dev/shm").is_dir() else []  # noqa: S108
    # No access log: addresses of incoming webhooks carry their secrets.
    limits = ["--timeout", "60", "--graceful-timeout", "8", "--keep-alive", "15"]
    start = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", bind]
    hooks = ["--config", f"file:{Path(__file__).with_name('gunicorn_hooks.py')}"]
    return [*start, *hooks, "--log-level", "warning", *limits, *memory]


# --- children ---------------------------------------------------------------------------------


@dataclass
class Child:
    """A running, fallen or waiting program with its log."""

    service: Service
    log: RotatingFileHandler
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    crashes: int = 0
    _rest: bytes = field(default=b"", repr=False)

    def start(self) -> None:
        """Start the program in a session of its own, so that no part of it can be forgotten."""
        self.process = subprocess.Popen(
            self.service.argv,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=embedded.die_with_parent,
        )
        self.started_at = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def take_lines(self, data: bytes) -> list[str]:
        """Write the whole lines of ``data`` to the log and return them."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
        for text in texts:
            self.log.emit(logging.makeLogRecord({"msg": text}))
        return texts

    def terminate(self) -> None:
        """Ask the program's first process to end; its own children are its business."""
        if self.alive and self.process is not None:
            self.process.terminate()

    def kill_rest(self) -> None:
        """Kill what is left of the program's session."""
        if self.process is not None:
            kill_session(self.process.pid)
            self.process.wait()

    def plan_restart(self, now: float) -> float:
        """Note the crash; seconds until the next start, longer the more often it falls."""
        steady = now - self.started_at > STEADY_SECONDS
        self.crashes = 1 if steady else self.crashes + 1
        pause = PAUSES[min(self.crashes, len(PAUSES)) - 1]
        self.restart_at = now + pause
        return pause


def kill_session(leader: int) -> None:
    """SIGKILL to every process of the session that ``leader`` began, also after its death.

    Waits until they are gone, so that what they held, a port for one, is free again.
    """
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
        return
    deadline = time.monotonic() + KILL_SECONDS
    while (members := session_members(leader)) and time.monotonic() < deadline:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def session_members(leader: int) -> list[int]:
    """Processes whose session is ``leader`` (see proc(5), ``stat``); none without /proc."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                members.append(int(path.parent.name))
    return members


# --- the loop ---------------------------------------------------------------------------------


def say(text: str) -> None:
    """A short line for the person at the terminal."""
    print(text, flush=True)


class StartFailed(RuntimeError):
    """A program falls again and again before the product has ever been ready."""


class Supervisor:
    """Keeps services alive until it is told to stop."""

    def __init__(self, logs: Path, env: Mapping[str, str], *, verbose: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.env = env
        self.verbose = verbose
        self.children: list[Child] = []
        self.stopping = False
        self.ready = False
        self._signals = 0
        self._selector = selectors.DefaultSelector()

    def add(self, service: Service) -> Child:
        """Start a service and watch it from now on."""
        path = self.logs / f"{service.name}.log"
        log = RotatingFileHandler(
            path, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8"
        )
        child = Child(service, log, self.env)
        self.children.append(child)
        self._start(child)
        return child

    def listen(self) -> None:
        """SIGINT and SIGTERM stop the loop; a second one kills without waiting."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def step(self, seconds: float) -> None:
        """Read the children's output for up to ``seconds``, then see who has fallen or is due."""
        self._read(seconds)
        now = time.monotonic()
        for child in self.children:
            if child.restart_at and now >= child.restart_at:
                self._start(child)
            elif not child.alive and not child.restart_at:
                self._fallen(child, now)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Loop until a stop signal, or until ``until()`` is true."""
        while not self.stopping and not until():
            self.step(0.5 if self.ready else 0.1)

    def stop(self) -> None:
        """End all children, those that end last after the others; kill who does not obey."""
        self.stopping = True
        last = [child for child in self.children if child.service.ends_last]
        for group in ([child for child in self.children if child not in last], last):
            self._stop_group(group)
        self._selector.close()

    def _stop_group(self, group: Iterable[Child]) -> None:
        group = list(group)
        for child in group:
            child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.alive for child in group) and time.monotonic() < deadline:
            self._read(0.05)
            if self._signals > 1:
                break
        for child in group:
            child.kill_rest()
        self._read(0)
        for child in group:
            self._forget(child)

    def _forget(self, child: Child) -> None:
        if child.process is not None and child.process.stdout is not None:
            pipe = child.process.stdout
            if not pipe.closed:
                self._selector.unregister(pipe)
                pipe.close()
        child.log.close()

    def _start(self, child: Child) -> None:
        child.restart_at = 0.0
        child.kill_rest()
        child.start()
        if child.process is not None and child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _fallen(self, child: Child, now: float) -> None:
        code = child.process.returncode if child.process else None
        pause = child.plan_restart(now)
        if not self.ready and child.crashes >= CRASHES_AT_START:
            raise StartFailed(child.service.name)
        say(f"[{child.service.name}] завершился с кодом {code}, новый запуск через {pause:g} с")

    def _read(self, seconds: float) -> None:
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, 65_536)
            if data:
                self._show(key.data, key.data.take_lines(data))
            else:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]

    def _show(self, child: Child, lines: Iterable[str]) -> None:
        for line in lines:
            if self.verbose or any(word in line for word in ALARMING):
                say(f"[{child.service.name}] {line[:LINE_WIDTH]}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.stopping = True


def answers(host: str, port: int, path: str = "/health") -> bool:
    """True when GET of the path answers 200 within two seconds."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
