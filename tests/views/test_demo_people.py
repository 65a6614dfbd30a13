"""The demonstration people on the login page: offered by the owner's choice alone."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from crm.models import Employee, db
from crm.operations.accounts import hash_password
from crm.operations.demo import PASSWORD
from crm.views import demo_people

Client = Any


@pytest.fixture
def demo_mode(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(app.config, "DEMO_MODE", True)
    demo_people.forget(app)
    yield
    demo_people.forget(app)


@pytest.fixture
def olga(app: Flask, people: dict[str, Employee]) -> Employee:
    """The suite's manager stands in for the demo's manager of the same login."""
    person = people["manager"]
    person.is_demo, person.password = True, hash_password(PASSWORD)
    db.session.commit()
    return person


def offered(client: Client) -> list[dict[str, str]]:
    """Name and password that the buttons of the page fill in."""
    page = client.get("/login/").get_data(as_text=True)
    return [json.loads(html.unescape(found)) for found in re.findall(r'data-fill="([^"]+)"', page)]


def test_a_press_signs_in(app: Flask, visitor: Client, demo_mode: None, olga: Employee) -> None:
    (filled,) = offered(visitor)
    assert filled == {"username": "manager", "password": PASSWORD}
    page = visitor.get("/login/").get_data(as_text=True)
    assert "Ольга Соколова" in page
    assert 'data-fill-form="#login-form"' in page
    answer = visitor.post("/login/", data=filled)
    assert answer.status_code == 302
    assert visitor.get("/profile").status_code == 200


def test_without_demo_mode_nobody_is_offered(app: Flask, visitor: Client, olga: Employee) -> None:
    demo_people.forget(app)
    assert offered(visitor) == []
    assert PASSWORD not in visitor.get("/login/").get_data(as_text=True)


def test_without_a_loaded_demo_nobody_is_offered(visitor: Client, demo_mode: None) -> None:
    assert offered(visitor) == []
    assert "Забыли пароль?" in visitor.get("/login/").get_data(as_text=True)


def test_people_are_read_once_a_minute(
    visitor: Client, demo_mode: None, olga: Employee, count_queries: Callable[[], Any]
) -> None:
    assert len(offered(visitor)) == 1
    with count_queries() as queries:
        assert len(offered(visitor)) == 1
    assert not [sql for sql in queries.statements if "is_demo" in sql]


def test_pages_that_do_not_show_them_do_not_ask(
    sign_in: Callable[[str], Client], demo_mode: None, count_queries: Callable[[], Any]
) -> None:
    client = sign_in("manager")
    with count_queries() as queries:
        client.get("/profile")
    assert not [sql for sql in queries.statements if "ab_user.is_demo IS" in sql]
