"""Sign-in: sessions that die, attempts that end, redirects that stay at home."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from crm.models import db
from crm.operations import invitations
from tests.people import PASSWORD
from tests.views import fab_apps
from tests.views.test_fab_holes import as_it_comes

Client = Any
NEW = "another-long-phrase-77"


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    made = fab_apps.stock(monkeypatch, tmp_path, fab_apps.stock_people)
    with made.app_context():
        yield made
        db.session.remove()
        db.engine.dispose()


def sign_in_at(client: Client, path: str = "/login/", **extra: Any) -> Any:
    data = {"username": "manager", "password": PASSWORD}
    return client.post(path, data=data, **extra)


def cookie(client: Client, name: str) -> str:
    return str(client.get_cookie(name).value)


def copied(app: Flask, value: str, name: str) -> Client:
    """Somebody else's browser with a stolen cookie."""
    thief = app.test_client()
    thief.set_cookie(name, value)
    return thief


@as_it_comes
def test_stock_cookie_outlives_logout(stock: Flask) -> None:
    client = stock.test_client()
    client.post("/login/", data={"username": "olga", "password": fab_apps.PASSWORD})
    thief = copied(stock, cookie(client, "session"), "session")
    client.get("/logout/")
    assert thief.get("/stock/deals/list/").status_code == 200


def test_a_copied_cookie_dies_with_the_logout(app: Flask, visitor: Client, people: Any) -> None:
    assert sign_in_at(visitor).status_code == 302
    thief = copied(app, cookie(visitor, "kvartal"), "kvartal")
    assert thief.get("/profile").status_code == 200
    with visitor.session_transaction() as session:
        session["csrf_token"] = "f" * 40
    assert visitor.post("/logout/").status_code == 302
    assert thief.get("/profile").status_code == 302


def test_other_sign_ins_die_with_the_password(app: Flask, people: Any, sign_in: Any) -> None:
    mine, other = sign_in("manager"), sign_in("manager")
    data = {"current_password": PASSWORD, "password": NEW, "repeat": NEW}
    assert mine.post("/profile/password", data=data).status_code == 302
    assert mine.get("/profile").status_code == 200
    assert other.get("/profile").status_code == 302


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"current_password": "wrong"}, "Текущий пароль введён неверно."),
        ({"password": "short1", "repeat": "short1"}, "Пароль короче 10 символов."),
        (
            {"password": "1234567890", "repeat": "1234567890"},
            "Такой пароль встречается слишком часто.",
        ),
        ({"repeat": "something-else-88"}, "Пароли не совпадают."),
    ],
)
def test_a_bad_password_is_refused(sign_in: Any, change: dict[str, str], complaint: str) -> None:
    client = sign_in("manager")
    data = {"current_password": PASSWORD, "password": NEW, "repeat": NEW, **change}
    assert complaint in client.post("/profile/password", data=data).text
    assert sign_in_at(client.application.test_client()).status_code in (200, 302, 400)


@as_it_comes
def test_stock_asks_as_often_as_one_likes(stock: Flask) -> None:
    client = stock.test_client()
    data = {"username": "olga", "password": "wrong"}
    assert 429 not in {client.post("/login/", data=data).status_code for _try in range(30)}


def attempts(
    client: Client, count: int, login: Callable[[int], str], address: Callable[[int], str]
) -> list[int]:
    return [
        client.post(
            "/login/",
            data={"username": login(number), "password": "wrong"},
            environ_base={"REMOTE_ADDR": address(number)},
        ).status_code
        for number in range(count)
    ]


def test_attempts_on_one_account_end_whatever_the_address(visitor: Client, people: Any) -> None:
    codes = attempts(visitor, 12, lambda _n: "manager", lambda n: f"10.0.0.{n}")
    assert 429 not in codes[:10]
    assert codes[10:] == [429, 429]


def test_attempts_from_one_address_end_whatever_the_account(visitor: Client) -> None:
    codes = attempts(visitor, 22, lambda n: f"nobody{n}", lambda _n: "10.9.9.9")
    assert 429 not in codes[:20]
    assert codes[20:] == [429, 429]


def test_one_network_is_one_address(visitor: Client) -> None:
    """Whoever has an IPv6 address has eighteen quintillions of them."""
    codes = attempts(visitor, 22, lambda n: f"nobody{n}", lambda n: f"2001:db8:1:2::{n:x}")
    assert codes[20:] == [429, 429]
    other = attempts(visitor, 1, lambda _n: "nobody", lambda _n: "2001:db8:1:3::1")
    mapped = attempts(visitor, 11, lambda n: f"a{n}", lambda _n: "10.9.9.9")
    mapped += attempts(visitor, 11, lambda n: f"b{n}", lambda _n: "::ffff:10.9.9.9")
    assert other == [200]
    assert 429 not in mapped[:20]
    assert mapped[20:] == [429, 429]


@pytest.mark.parametrize(
    "body", [{"username": 5, "password": [1]}, [1], "x", None, {"username": {}}]
)
def test_json_is_no_form(visitor: Client, sign_in: Any, people: Any, body: Any) -> None:
    assert visitor.post("/login/", json=body).status_code == 200
    change = {"current_password": 5, "password": 6, "repeat": 6}
    for sent in (body, change):
        assert sign_in("manager").post("/profile/password", json=sent).status_code == 200
    token = invitations.invite(people["manager"].id, None)
    for sent in (body, {"password": 5, "repeat": 5}):
        assert visitor.post(f"/invite/{token}", json=sent).status_code == 200


def test_there_is_no_other_door(app: Flask, visitor: Client) -> None:
    data = {"username": "manager", "password": PASSWORD, "provider": "db"}
    assert visitor.post("/api/v1/security/login", json=data).status_code == 404


@as_it_comes
def test_stock_follows_a_forged_host(stock: Flask) -> None:
    client = stock.test_client()
    answer = client.post(
        "/login/?next=https://evil.com/",
        data={"username": "olga", "password": fab_apps.PASSWORD},
        headers={"Host": "evil.com"},
    )
    assert "evil.com" in answer.headers["Location"]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.com/",
        "//evil.com",
        "/\\evil.com",
        "\\\\evil.com",
        "https:evil.com",
        "http:///evil.com",
        "/\t/evil.com",
    ],
)
def test_sign_in_leads_home(visitor: Client, people: Any, target: str) -> None:
    answer = sign_in_at(visitor, "/login/", query_string={"next": target})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/"


def test_sign_in_leads_home_from_a_forged_host(visitor: Client, people: Any) -> None:
    with visitor.session_transaction(base_url="http://evil.com") as session:
        session["csrf_token"] = "f" * 40
    answer = sign_in_at(
        visitor, "/login/", query_string={"next": "https://evil.com/"}, base_url="http://evil.com"
    )
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_the_cookie_is_guarded(visitor: Client, people: Any) -> None:
    header = sign_in_at(visitor).headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
