"""An upgrade keeps every row, those of tables that SQLite must build anew among them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.conftest import DATABASE

ROOT = Path(__file__).resolve().parent.parent
_MIGRATE = """
import sys
from flask_migrate import downgrade, upgrade
from crm import create_app

app = create_app()
with app.app_context():
    directory = app.extensions["migrate"].directory
    for step in sys.argv[1:]:
        change, _space, revision = step.partition(" ")
        {"up": upgrade, "down": downgrade}[change](directory=directory, revision=revision)
"""
_ROWS = (
    (
        "INSERT INTO telephony_connection"
        " (id, name, operator, token, active, created_at, updated_at)"
        " VALUES (1, 'АТС', 'mango', 'secret', true, '2026-01-01', '2026-01-01')"
    ),
    "INSERT INTO telephony_extension (connection_id, key) VALUES (1, '101')",
    (
        "INSERT INTO call (id, connection_id, provider_call_id, state, is_final, final_fields,"
        " is_first, started_at, recording_state, recording_attempts, created_at, updated_at)"
        " VALUES (1, 1, 'p', 'ended', true, '[]', true, '2026-01-01', 'none', 0,"
        " '2026-01-01', '2026-01-01')"
    ),
    "INSERT INTO call_leg (call_id, leg_id, state) VALUES (1, 'leg', 'ended')",
    (
        "INSERT INTO seen_call_event (connection_id, event_id, call_id, seen_at)"
        " VALUES (1, 'event', 1, '2026-01-01')"
    ),
)
_TABLES = ("telephony_connection", "telephony_extension", "call", "call_leg", "seen_call_event")


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[str]:
    if DATABASE == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.sqlite3'}"
        return
    server = make_url(os.environ["TEST_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    name = f"kvartal_old_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


def migrate(url: str, folder: Path, *steps: str) -> None:
    env = {**os.environ, "DATABASE_URL": url, "INSTANCE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _MIGRATE, *steps],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_upgrade_keeps_the_rows_and_can_be_taken_back(
    empty_database: str, tmp_path: Path
) -> None:
    migrate(empty_database, tmp_path, "up 0001")
    engine = create_engine(empty_database)

    def counts() -> list[int]:
        with engine.connect() as connection:
            return [
                connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in _TABLES
            ]

    with engine.begin() as connection:
        for statement in _ROWS:
            connection.execute(text(statement))
    assert counts() == [1] * len(_TABLES)
    migrate(empty_database, tmp_path, "up head")
    assert counts() == [1] * len(_TABLES)
    migrate(empty_database, tmp_path, "down 0001", "up head")
    assert counts() == [1] * len(_TABLES)
    engine.dispose()
