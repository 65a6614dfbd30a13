"""One instance is run once, on a free port, and prepared only when something changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from crm import embedded, running
from crm.running import Plan, RunError


def make_plan(instance: Path, **env: str) -> Plan:
    instance.mkdir(exist_ok=True)
    return running.plan({"INSTANCE_DIR": str(instance), **env})


def migrate(path: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)")
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Commands that preparing has run; ``init`` leaves a migrated database."""
    done: list[tuple[str, ...]] = []

    def step(what: Plan, title: str, *arguments: str) -> None:
        done.append(arguments)
        migrate(what.instance / "kvartal.sqlite3", "r1")

    monkeypatch.setattr(running, "_crm_step", step)
    return done


def test_the_children_get_one_redis_and_one_instance(tmp_path: Path) -> None:
    what = make_plan(tmp_path / "i")
    assert what.env["REDIS_URL"] == embedded.redis_url(tmp_path / "i", {})
    assert what.env["INSTANCE_DIR"] == str(tmp_path / "i")
    assert what.host == "127.0.0.1"
    assert make_plan(tmp_path / "i", REDIS_URL="redis://q/0").env["REDIS_URL"] == "redis://q/0"
    assert make_plan(tmp_path / "i", BIND="0.0.0.0").local_host == "127.0.0.1"


def test_a_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    first = "http://127.0.0.1:8080"
    with (
        running.only_one(tmp_path, first),
        pytest.raises(RunError, match=re.escape(f"{first} (процесс {os.getpid()})")),
        running.only_one(tmp_path, "http://127.0.0.1:9000"),
    ):
        pytest.fail("the instance was held twice")
    with running.only_one(tmp_path, "http://127.0.0.1:9000"):
        assert "9000" in (tmp_path / "supervisor.pid").read_text("utf-8")


def test_the_address_is_told_while_the_product_runs(tmp_path: Path) -> None:
    address = "http://127.0.0.1:9000"
    assert running.running_at(tmp_path) is None
    with running.only_one(tmp_path, address):
        assert running.running_at(tmp_path) == address
    # Whoever was killed could not empty the file.
    (tmp_path / "supervisor.pid").write_text(f"17 {address}", "utf-8")
    assert running.running_at(tmp_path) is None


def test_a_busy_port_is_named_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"Порт {port} .*PORT={port + 10}"):
            running.check_port("127.0.0.1", port)
    running.check_port("127.0.0.1", port)


def test_an_unchanged_instance_is_prepared_once(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    what = make_plan(tmp_path / "i")
    running.prepare(what)
    assert steps == [("init",), ("demo", "load")]
    running.prepare(what)
    assert len(steps) == 2


def test_an_older_database_put_back_is_migrated_again(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    what = make_plan(tmp_path / "i")
    running.prepare(what)
    migrate(what.instance / "kvartal.sqlite3", "r0")
    running.prepare(what)
    assert steps[2:] == [("init",)]


def test_a_database_of_unknown_state_is_always_migrated(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    what = make_plan(tmp_path / "i", DATABASE_URL="postgresql://db/kvartal")
    running.prepare(what)
    running.prepare(what)
    assert steps == [("init",), ("demo", "load"), ("init",)]


def test_the_demo_can_be_declined(tmp_path: Path, steps: list[tuple[str, ...]]) -> None:
    running.prepare(make_plan(tmp_path / "i", KVARTAL_DEMO="0"))
    assert steps == [("init",)]


def test_a_failed_preparation_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = make_plan(tmp_path / "i")

    def fail(*_: Any) -> None:
        raise RunError("crm init: код 1")

    monkeypatch.setattr(running, "_crm_step", fail)
    with pytest.raises(RunError):
        running.prepare(what)
    assert not (what.instance / "prepared.json").exists()


def test_a_failed_step_shows_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = make_plan(tmp_path / "i")
    what.logs.mkdir()
    command = ["/bin/sh", "-c", "echo the disk is full; exit 3"]
    monkeypatch.setattr(running, "crm_argv", lambda *_: command)
    with pytest.raises(RunError, match=r"(?s)crm init: код 3.*the disk is full"):
        running._crm_step(what, "База данных", "init")


def test_prepared_json_keeps_what_it_knew(tmp_path: Path, steps: list[tuple[str, ...]]) -> None:
    what = make_plan(tmp_path / "i")
    running.prepare(what)
    known = json.loads((what.instance / "prepared.json").read_text("utf-8"))
    assert known["demo"] is True
    assert known["fingerprint"] == running.fingerprint(what.settings)
