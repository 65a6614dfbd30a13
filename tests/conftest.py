"""The suite's ground: an installed application, people in all roles, counted queries.

Every test starts from the same installed database: on SQLite a fresh copy of one file, on
PostgreSQL a transaction that is rolled back. A test that needs real commits seen by other
threads or processes asks for ``committed``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g, request_started
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.engine import make_url

from crm import create_app
from crm.models import Employee, Pipeline, db
from crm.security import sessions
from crm.security.principal import Principal, load_principal
from tests import people as people_module
from tests.browsers import CSRF, chromium
from tests.factories import Factory

__all__ = ["CSRF", "chromium"]
SECRET = "tests-only-secret-key-0123456789abcdef"
DATABASE = os.environ.get("KVARTAL_TEST_DB", "sqlite")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """In CI nothing may be left out: a skip is a failure there."""
    if os.environ.get("KVARTAL_REQUIRE_ALL") != "1" or call.excinfo is None:
        return
    if isinstance(call.excinfo.value, pytest.skip.Exception):
        failure = AssertionError(f"skipped, though everything is required: {call.excinfo.value}")
        call.excinfo = pytest.ExceptionInfo.from_exception(failure.with_traceback(call.excinfo.tb))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real data made by others, read in place; tests that need it skip without it."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("KVARTAL_SAMPLES") or root.parent / "shared" / "samples")
    if not path.is_dir():
        pytest.skip("no samples here")
    return path


# --- application ----------------------------------------------------------------


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of this worker's own empty database."""
    if DATABASE == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.sqlite3'}"
        return
    server = make_url(os.environ["TEST_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    name = f"kvartal_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def installed_app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application on a migrated database with default data and the suite's people."""
    instance = tmp_path_factory.mktemp("instance")
    os.environ["INSTANCE_DIR"] = str(instance)
    app = create_app(
        {
            "TESTING": True,
            "SECRET_KEY": SECRET,
            "ENCRYPTION_KEYS": [SECRET],
            "SQLALCHEMY_DATABASE_URI": database_url,
            "SQLALCHEMY_ENGINE_OPTIONS": {},
            # Nobody listens there: the product must work without its queue.
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "RATELIMIT_STORAGE_URI": "memory://",
            "STORAGE_URL": f"file://{instance / 'files'}",
            "PUBLIC_URL": "http://localhost",
            "EVENTS_URL": "/events",
            "OUTBOUND_ALLOW_PRIVATE": ["127.0.0.1", "localhost"],
        }
    )
    from crm.operations.upgrade import upgrade

    with app.app_context():
        upgrade()
        people_module.create()
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
    if DATABASE == "sqlite":
        path = make_url(database_url).database or ""
        with app.app_context(), db.engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        shutil.copy(path, path + ".installed")
    yield app
    with app.app_context():
        db.session.remove()
        db.engines[None].dispose()


@pytest.fixture
def app(installed_app: Flask, database_url: str) -> Iterator[Flask]:
    """The application on a fresh database, inside an application context."""
    restore = _restore_sqlite if DATABASE == "sqlite" else _rolled_back
    with installed_app.app_context(), restore(database_url):
        limiter = installed_app.extensions["appbuilder"].sm.limiter
        limiter.reset()
        yield installed_app
        db.session.remove()


@contextmanager
def _restore_sqlite(url: str) -> Iterator[None]:
    path = make_url(url).database or ""
    db.session.remove()
    db.engine.dispose()
    for tail in ("-wal", "-shm"):
        Path(path + tail).unlink(missing_ok=True)
    shutil.copy(path + ".installed", path)
    yield
    db.session.remove()
    db.engine.dispose()


@contextmanager
def _rolled_back(_url: str) -> Iterator[None]:
    engine = db.engines[None]
    connection = engine.connect()
    outer = connection.begin()
    db.engines[None] = connection  # type: ignore[assignment]
    db.session.remove()
    db.session.session_factory.configure(join_transaction_mode="create_savepoint")
    try:
        yield
    finally:
        db.session.remove()
        outer.rollback()
        connection.close()
        db.engines[None] = engine


@pytest.fixture
def committed(installed_app: Flask, database_url: str) -> Iterator[Flask]:
    """As ``app``, but commits are real, so that threads and processes see them."""
    if DATABASE == "sqlite":
        with installed_app.app_context(), _restore_sqlite(database_url):
            yield installed_app
        return
    with installed_app.app_context():
        db.session.remove()
        before = _max_ids()
        yield installed_app
        db.session.remove()
        _delete_new_rows(before)


def _max_ids() -> dict[str, list[tuple[Any, ...]]]:
    tables = db.metadata.sorted_tables
    with db.engine.connect() as connection:
        return {t.name: [tuple(row) for row in connection.execute(select(t))] for t in tables}


def _delete_new_rows(before: dict[str, list[tuple[Any, ...]]]) -> None:
    """Empty every table and put the installed rows back, keys first."""
    tables = db.metadata.sorted_tables
    names = ", ".join(f'"{table.name}"' for table in tables)
    with db.engine.begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {names}"))
        for table in tables:
            columns = table.c.keys()
            rows = [dict(zip(columns, row, strict=True)) for row in before[table.name]]
            if rows:
                connection.execute(table.insert(), rows)
        connection.execute(text("SET session_replication_role = DEFAULT"))


@pytest.fixture(autouse=True)
def separate_requests() -> Iterator[None]:
    """The suite keeps one application context: what a request cached is not for the next."""

    def forget(_app: Any, **_extra: Any) -> None:
        vars(g).clear()
        db.session.expire_all()

    request_started.connect(forget)
    yield
    request_started.disconnect(forget)


# --- people ---------------------------------------------------------------------


@pytest.fixture
def people(app: Flask) -> dict[str, Employee]:
    """Director, head, manager, teammate, stranger, marketer, admin by these names."""
    return {
        user.username: user
        for user in db.session.scalars(
            select(Employee).where(Employee.username.in_(people_module.NAMES))
        )
    }


@pytest.fixture
def principal(people: dict[str, Employee]) -> Callable[[str], Principal]:
    """Rights of a person by name, read anew."""
    return lambda name: load_principal(people[name])


class SignedClient(FlaskClient):
    """A browser of one person; it sends the CSRF token as our pages do."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        headers = dict(kwargs.pop("headers", None) or {})
        if kwargs.pop("csrf", True):
            serializer = URLSafeTimedSerializer(SECRET, salt="wtf-csrf-token")
            headers.setdefault("X-CSRFToken", serializer.dumps(CSRF))
        return super().open(*args, headers=headers, **kwargs)


@pytest.fixture
def sign_in(app: Flask, people: dict[str, Employee]) -> Callable[[str], SignedClient]:
    """``sign_in("manager")``: a client with a live sign-in."""

    def make(name: str) -> SignedClient:
        token = sessions.open_session(people[name].id, hours=1)
        db.session.commit()
        client = SignedClient(app, app.response_class, use_cookies=True)
        with client.session_transaction() as session:
            session["_user_id"] = f"{people[name].id}.{token}"
            session["_fresh"] = True
            session["csrf_token"] = CSRF
        return client

    return make


@pytest.fixture
def visitor(app: Flask) -> SignedClient:
    """Somebody who is not signed in, with a CSRF token of his own."""
    client = SignedClient(app, app.response_class, use_cookies=True)
    with client.session_transaction() as session:
        session["csrf_token"] = CSRF
    return client


@pytest.fixture
def make(app: Flask, people: dict[str, Employee]) -> Factory:
    """Makes deals, contacts, listings and the like straight in the database."""
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    return Factory(people, pipeline)


# --- queries --------------------------------------------------------------------


@dataclass
class Queries:
    """SQL statements run inside ``with count_queries() as queries``."""

    statements: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.statements)


@pytest.fixture
def count_queries(app: Flask) -> Callable[[], Any]:
    """Counts statements; savepoints and transaction marks are not counted."""

    @contextmanager
    def counting() -> Iterator[Queries]:
        queries = Queries()
        engine = db.engines[None]

        def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if not statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA")):
                queries.statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield queries
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return counting
