"""The whole product as ``make run`` starts it, for tests: its processes, its data, its doors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import Select, create_engine, func, select
from sqlalchemy.pool import NullPool

import config
from crm import embedded
from crm.models import Appeal, Call, Deal, DeliveryState, InboundDelivery, TelephonyConnection

START_SECONDS = 150.0
STOP_SECONDS = 30.0
DEMO_SCALE = "0.05"
# What the product must not inherit from whoever runs the tests.
_OURS = frozenset(
    {"REDIS_URL", "DATABASE_URL", "STORAGE_URL", "PUBLIC_URL", "EVENTS_URL", "BIND", "INSTANCE_DIR"}
    | {"TRUSTED_HOSTS", "PROXY_HOPS", "COOKIE_SECURE", "DEMO_MODE", "KVARTAL_DEMO", "VERBOSE"}
)
_PENDING = (DeliveryState.NEW, DeliveryState.RETRY)


def free_ports() -> int:
    """A port that is free together with the next one."""
    for port in range(20_000 + os.getpid() % 5_000, 32_000, 2):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports in a row")


class Product:
    """``python -m crm.running`` in a folder of its own."""

    def __init__(self, instance: Path, database_url: str | None) -> None:
        self.instance = instance
        self.port = free_ports()
        self.base = f"http://127.0.0.1:{self.port}"
        self.events = f"http://127.0.0.1:{self.port + 1}/events"
        self.output = instance.with_suffix(".log")
        self.env = {name: value for name, value in os.environ.items() if name not in _OURS}
        self.env |= {
            "INSTANCE_DIR": str(instance),
            "PORT": str(self.port),
            "KVARTAL_DEMO": "1",
            "KVARTAL_DEMO_SCALE": DEMO_SCALE,
            "DEMO_MODE": "1",
            # The tests sign in more often than a person does.
            "LOGIN_LIMIT": "200 per 5 minutes",
        }
        if database_url:
            self.env["DATABASE_URL"] = database_url
        self.engine = create_engine(
            config.load(self.env)["SQLALCHEMY_DATABASE_URI"], poolclass=NullPool
        )
        self.process: subprocess.Popen[bytes] | None = None

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> float:
        """Start and wait until every part answers; how long it took, in seconds."""
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crm.running"],
                env=self.env,
                cwd=config.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=embedded.die_with_parent,  # noqa: PLW1509 - no threads here yet
            )
        deadline = began + START_SECONDS
        while not self.is_healthy():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                said = embedded.tail(self.output, 40)
                raise AssertionError(f"the product did not start (code {code}):\n{said}")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> list[str]:
        """End it by its pid; command lines of the processes it has left behind (and now killed)."""
        if self.process is None:
            return []
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.engine.dispose()
        left = self.processes()
        for pid in left:
            kill(pid)
        return list(left.values())

    def is_healthy(self) -> bool:
        try:
            return requests.get(f"{self.base}/health", timeout=3).status_code == 200
        except requests.RequestException:
            return False

    def wait_healthy(self, seconds: float = 60.0) -> None:
        """Wait until every part answers again."""
        until(self.is_healthy, seconds, "the product is not healthy")

    def processes(self) -> dict[int, str]:
        """Command line by pid of every process that lives on this instance."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._owns(folder):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode("utf-8", "replace").strip()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return {pid: line for pid, line in found.items() if line}

    def _owns(self, folder: Path) -> bool:
        """Redis writes its title over its environment, but stands in its own folder."""
        mark = f"INSTANCE_DIR={self.instance}".encode()
        if mark in (folder / "environ").read_bytes().split(b"\0"):
            return True
        return (folder / "cwd").readlink().is_relative_to(self.instance)

    def pids(self, *words: str) -> list[int]:
        """Processes whose command line has one of the words, the oldest first."""
        found = [
            pid for pid, line in self.processes().items() if any(word in line for word in words)
        ]
        return sorted(found, key=_started)

    def kill_redis(self) -> bool:
        """SIGKILL to the embedded Redis; False when it is down already."""
        found = self.pids("redis-server", "valkey-server")
        for pid in found:
            kill(pid)
        return bool(found)

    def kill_worker(self) -> None:
        """SIGKILL to the whole worker: its parent, then the lanes, so that nothing is finished."""
        found = self.pids("main(prog_name='crm') worker")
        assert found, "no worker is running"
        for pid in found:
            kill(pid)

    def redis_answers(self) -> bool:
        return embedded.redis_answers(embedded.redis_socket(self.instance))

    def memory(self) -> dict[str, float]:
        """Proportional share of the memory of each process, MiB."""
        shares: dict[str, float] = {}
        for pid, line in self.processes().items():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
            kib = next(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
            shares[f"{pid} {line[-60:]}"] = kib / 1024
        return shares

    def crm(self, *arguments: str) -> str:
        """Run ``crm ...`` on this instance and return what it printed; it must succeed."""
        start = "from crm.cli import main; main(prog_name='crm')"
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            env=self.env,
            cwd=config.ROOT,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    # --- data -------------------------------------------------------------------------------------

    def value(self, query: Select[*tuple[Any, ...]]) -> Any:
        """The single value of a query, in a transaction of its own."""
        with self.engine.connect() as connection:
            return connection.scalar(query)

    def rows(self, query: Select[*tuple[Any, ...]]) -> list[Any]:
        """All rows of a query, in a transaction of its own."""
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def counts(self) -> dict[str, int]:
        """How much there is of what a delivery may make."""
        tables = {"deliveries": InboundDelivery, "calls": Call, "deals": Deal, "appeals": Appeal}
        made = {
            name: int(self.value(select(func.count()).select_from(table)))
            for name, table in tables.items()
        }
        return made | {"repeats": int(self.value(select(func.sum(InboundDelivery.repeats))) or 0)}

    def pending(self) -> int:
        """Deliveries that are not taken in yet."""
        waiting = InboundDelivery.state.in_(_PENDING)
        return int(self.value(select(func.count()).where(waiting)))

    def connection_id(self) -> int:
        return int(self.value(select(TelephonyConnection.id).order_by(TelephonyConnection.id)))


class DeadRedis:
    """Keeps the product's Redis dead for some seconds, however often it is started again."""

    def __init__(self, product: Product, seconds: float) -> None:
        self._product, self._seconds = product, seconds
        self._thread = threading.Thread(target=self._hold_down)
        self._stopped = threading.Event()
        self.kills = 0

    def start(self) -> None:
        """Kill it now; who called goes on when it is dead."""
        self.kills += self._product.kill_redis()
        self._thread.start()

    def wait(self) -> None:
        """Until its time is over."""
        self._thread.join()

    def stop(self) -> None:
        """Let it live before the time is over."""
        self._stopped.set()
        self._thread.join()

    def _hold_down(self) -> None:
        ends = time.monotonic() + self._seconds
        while time.monotonic() < ends and not self._stopped.wait(0.1):
            self.kills += self._product.kill_redis()


def until(check: Callable[[], bool], seconds: float, otherwise: str) -> float:
    """Wait for ``check``; how long it took, AssertionError with ``otherwise`` when too long."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, f"{otherwise} after {seconds:g} s"
        time.sleep(0.05)
    return time.monotonic() - began


def kill(pid: int) -> None:
    """SIGKILL to one process, which may have gone by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _started(pid: int) -> int:
    """Ticks since the boot, see proc(5), ``stat``; the latest for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return sys.maxsize
    return int(text.rpartition(")")[2].split()[19])


def send(base: str, message: Any, prefix: str) -> requests.Response:
    """Post a simulated request to its door as its sender would."""
    headers: Mapping[str, str] = message.headers
    return requests.request(
        message.method,
        f"{base}{prefix}/{message.path_tail}",
        params=message.query,
        data=message.body,
        headers=headers,
        timeout=15,
    )
