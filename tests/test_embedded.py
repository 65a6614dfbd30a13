"""Redis and PostgreSQL that start by themselves."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits.storage import storage_from_string
from redis import Redis

from crm import embedded


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


@pytest.fixture
def running(instance: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = embedded.ensure_redis(instance)
    assert process is not None
    yield process
    process.terminate()
    process.wait(10)


def test_a_configured_redis_wins(instance: Path) -> None:
    assert embedded.redis_url(instance, {"REDIS_URL": "redis://queue:6379/3"}) == (
        "redis://queue:6379/3"
    )
    assert embedded.redis_url(instance, {}) == f"unix://{embedded.redis_socket(instance)}?db=0"


def test_redis_works_and_listens_on_a_private_socket_only(
    instance: Path, running: subprocess.Popen[bytes]
) -> None:
    with Redis.from_url(embedded.redis_url(instance, {})) as client:
        assert client.set("k", "v")
        assert client.get("k") == b"v"
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert embedded.redis_socket(instance).stat().st_mode & 0o077 == 0


def test_the_rate_limiter_reaches_the_same_redis(
    instance: Path, running: subprocess.Popen[bytes]
) -> None:
    storage = storage_from_string(embedded.limiter_url(embedded.redis_url(instance, {})))
    assert storage.check()
    assert storage.incr("login", 60) == 1
    assert embedded.limiter_url("redis://queue/0") == "redis://queue/0"


def test_a_second_start_finds_the_first(instance: Path, running: subprocess.Popen[bytes]) -> None:
    assert embedded.ensure_redis(instance) is None
    assert running.poll() is None


def test_what_was_written_survives_a_kill(instance: Path) -> None:
    first = embedded.ensure_redis(instance)
    assert first is not None
    with Redis.from_url(embedded.redis_url(instance, {})) as client:
        client.config_set("appendfsync", "always")
        client.set("kept", "yes")
    first.kill()
    first.wait(10)
    assert not embedded.redis_answers(embedded.redis_socket(instance))
    second = embedded.ensure_redis(instance)
    assert second is not None
    try:
        with Redis.from_url(embedded.redis_url(instance, {})) as client:
            assert client.get("kept") == b"yes"
    finally:
        second.terminate()
        second.wait(10)


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("д" * 60)
    deep.mkdir()
    path = embedded.redis_socket(deep)
    assert len(os.fsencode(path)) <= embedded.LONGEST_SOCKET_PATH
    assert path == embedded.redis_socket(deep)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = embedded.private_dir("redis", tmp_path / "a")
    place.chmod(0o777)
    with pytest.raises(embedded.EmbeddedError, match="somebody else"):
        embedded.private_dir("redis", tmp_path / "a")
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(embedded.EmbeddedError, match="somebody else"):
        embedded.private_dir("redis", tmp_path / "a")


def test_the_wheel_replaces_a_missing_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(embedded, "_packaged", lambda package, path: None)
    with pytest.raises(embedded.EmbeddedError, match="REDIS_URL"):
        embedded.redis_binary()


def test_something_else_on_the_socket_is_not_redis(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        assert not embedded.redis_answers(path)
        assert not embedded.redis_answers(tmp_path / "absent")


def test_a_server_that_cannot_start_says_why(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedded, "redis_argv", lambda _: ["/bin/sh", "-c", "echo out of luck; exit 3"]
    )
    with pytest.raises(embedded.EmbeddedError, match="out of luck"):
        embedded.ensure_redis(instance)


def test_a_configured_postgresql_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", "postgresql+psycopg://there/x")
    assert embedded.postgres_url(tmp_path) == "postgresql+psycopg://there/x"
    with embedded.postgres(tmp_path) as url:
        assert url == "postgresql+psycopg://there/x"


def test_no_binaries_no_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.setattr(embedded, "postgres_binaries", lambda: None)
    assert embedded.postgres_url(tmp_path) is None


def test_a_throw_away_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    if embedded.postgres_binaries() is None:
        pytest.skip("no PostgreSQL on this machine")
    with embedded.postgres(tmp_path) as url:
        assert url is not None
        with embedded.postgres(tmp_path) as same:
            assert same == url
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT 'Ёлка' < 'Жук', current_setting('TimeZone')")
            assert row.fetchone() == (True, "UTC")
        home = Path(url.partition("host=")[2])
        assert home.exists()
    assert not home.exists()
