"""Common ground of the benchmarks: a fresh installed application, sign-in, timing, ratios."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, text

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))


@contextmanager
def application(url: str | None = None) -> Iterator[Flask]:
    """Installed application on SQLite, or on the database at ``url`` (emptied first)."""
    with tempfile.TemporaryDirectory(prefix="kvartal-bench-") as folder:
        os.environ["INSTANCE_DIR"] = folder
        os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
        from crm import create_app
        from crm.models import db
        from crm.operations.upgrade import upgrade

        database = url or f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        app = create_app(
            {
                "SQLALCHEMY_DATABASE_URI": database,
                "SQLALCHEMY_ENGINE_OPTIONS": {},
                "WTF_CSRF_ENABLED": False,
            }
        )
        with app.app_context():
            if url:
                _empty()
            upgrade()
            yield app
            db.session.remove()
            db.engine.dispose()


def _empty() -> None:
    from crm.models import db

    with db.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def analyse() -> None:
    """Let the planner know the data, as autovacuum would."""
    from crm.models import db

    db.session.commit()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def signed_in(app: Flask, login: str) -> FlaskClient:
    """Client of a person, signed in as a browser is."""
    from sqlalchemy import select

    from crm.models import Employee, db
    from crm.security import sessions

    user = db.session.scalars(select(Employee).where(Employee.username == login)).one()
    token = sessions.open_session(user.id, hours=1)
    db.session.commit()
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = f"{user.id}.{token}"
        session["_fresh"] = True
    return client


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """SQL statements with their parameters, as they were sent."""
    from crm.models import db

    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if not statement.startswith(("PRAGMA", "SAVEPOINT", "RELEASE")):
            sent.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def paired(ours: Callable[[], Any], bare: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of both, run in turn so that a slow moment hits both alike."""
    for _ in range(3):
        ours()
        bare()
    first, second = [], []
    for _ in range(ROUNDS):
        first.append(_timed(ours))
        second.append(_timed(bare))
    return statistics.median(first), statistics.median(second)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def line(name: str, ours: float, bare: float, note: str = "") -> None:
    """One row of the report: milliseconds of both and the ratio."""
    print(f"{name:<34}{ours * 1e3:>10.2f} ms{bare * 1e3:>10.2f} ms  x{ours / bare:<6.2f}{note}")
