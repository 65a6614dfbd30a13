"""What pages are tried with in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.serving import make_server

from crm.models import Employee, Pipeline, db
from tests import people as people_module
from tests.factories import Factory


@pytest.fixture
def site(committed: Flask) -> Iterator[str]:
    """A live server on a free port over the suite's own database."""
    server = make_server("127.0.0.1", 0, committed, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    others = set(threading.enumerate())
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    # A request in hand would meet the next test's database.
    for served in set(threading.enumerate()) - others:
        served.join(5)


@pytest.fixture
def factory(committed: Flask) -> Factory:
    """Maker of rows that the live server sees."""
    query = select(Employee).where(Employee.username.in_(people_module.NAMES))
    people = {user.username: user for user in db.session.scalars(query)}
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    return Factory(people, pipeline)
