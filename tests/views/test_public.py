"""The web doors of machines: who is let in, what is stored, what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from crm.integrations.leads.site import sign, signature_headers
from crm.models import Appeal, Call, DeliveryState, TelephonyConnection, db
from crm.operations import doors, inbox, rates
from crm.values.clock import utc_now
from tests import inbound
from tests.inbound import CLIENT, KEY, TOKEN, deliveries

LEAD = {"name": "Иван Петров", "phone": "+7 (903) 123-45-67", "comment": "Двухкомнатная"}
HOOK = f"/telephony/mango/{TOKEN}"
DOOR = f"/api/v1/intake/{KEY}"


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    rates.reset()
    yield
    rates.reset()


@pytest.fixture
def machine(app: Flask) -> FlaskClient:
    """A program without cookies and without a CSRF token."""
    return app.test_client(use_cookies=False)


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


def knock(machine: FlaskClient, sent: Any, address: str = HOOK) -> Any:
    return machine.open(
        f"{address}/{sent.path_tail}", method="POST", data=sent.body, headers=dict(sent.headers)
    )


class TestTelephonyHooks:
    def test_a_signed_event_is_stored_and_answered(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())[0]
        answer = knock(machine, sent)
        assert answer.status_code == 200
        assert answer.json == {"success": True}
        (stored,) = deliveries()
        assert stored.state == DeliveryState.NEW
        assert stored.body == sent.body
        assert "invented-salt" not in stored.body_masked
        assert TOKEN not in json.dumps([stored.headers, stored.query, stored.path_tail])

    def test_the_same_delivery_twice_is_one_row(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())[0]
        assert [knock(machine, sent).status_code for _ in range(3)] == [200, 200, 200]
        (stored,) = deliveries()
        assert stored.repeats == 2

    def test_a_wrong_address_or_signature_stores_nothing(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())[0]
        assert knock(machine, sent, "/telephony/mango/another-token").status_code == 403
        assert knock(machine, sent, f"/telephony/mango/{TOKEN}x").status_code == 403
        fields = {name: value[0] for name, value in parse_qs(sent.body.decode()).items()}
        forged = urlencode(fields | {"sign": "0" * 64})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = machine.post(f"{HOOK}/{sent.path_tail}", data=forged, headers=form)
        assert answer.status_code == 403
        assert deliveries() == []

    def test_the_secret_finds_the_connection_whatever_operator_stands_before_it(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())[0]
        assert knock(machine, sent, f"/telephony/mgts/{TOKEN}").status_code == 200
        assert deliveries()[0].adapter == "mango"

    def test_a_closed_connection_lets_nobody_in(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        mango.active = False
        db.session.commit()
        assert knock(machine, inbound.requests_of(mango, inbound.scenario())[0]).status_code == 403

    @pytest.mark.parametrize(
        "body",
        [b"", b"\x00\xff\xfe", b"json=%FF%FE&sign=%00", b"{" * 5000, "звонок".encode("cp1251")],
    )
    def test_garbage_is_refused_and_not_stored(
        self, machine: FlaskClient, mango: TelephonyConnection, body: bytes
    ) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = machine.post(f"{HOOK}/events/call", data=body, headers=form)
        assert answer.status_code == 403
        assert deliveries() == []

    def test_a_huge_body_is_not_read(
        self, machine: FlaskClient, mango: TelephonyConnection
    ) -> None:
        class Endless:
            taken = 0

            def read(self, size: int = -1) -> bytes:
                Endless.taken += size
                return b"x" * size

        answer = machine.post(
            f"{HOOK}/events/call",
            environ_overrides={
                "wsgi.input": Endless(),
                "CONTENT_LENGTH": str(50 * 1024 * 1024),
            },
        )
        assert answer.status_code == 413
        assert Endless.taken == 0
        assert deliveries() == []

    def test_it_costs_a_lookup_and_an_insert(
        self,
        machine: FlaskClient,
        mango: TelephonyConnection,
        count_queries: Callable[[], Any],
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())
        with count_queries() as queries:
            knock(machine, sent[0])
        assert len(queries) == 2, queries.statements

    def test_a_remembered_door_costs_the_insert_alone(
        self,
        machine: FlaskClient,
        app: Flask,
        mango: TelephonyConnection,
        count_queries: Callable[[], Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sent = inbound.requests_of(mango, inbound.scenario())
        monkeypatch.setitem(app.config, "TESTING", False)
        monkeypatch.setitem(app.extensions, "doors", {})
        knock(machine, sent[0])
        with count_queries() as queries:
            assert knock(machine, sent[1]).status_code == 200
        assert len(queries) == 1, queries.statements
        assert queries.statements[0].startswith("INSERT INTO inbound_delivery")

    def test_a_failing_database_asks_to_repeat(
        self,
        machine: FlaskClient,
        mango: TelephonyConnection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*_args: Any, **_kwargs: Any) -> None:
            raise OperationalError("INSERT secret", {}, Exception("disk full"))

        sent = inbound.requests_of(mango, inbound.scenario())[0]
        monkeypatch.setattr(inbox, "accept", fail)
        answer = knock(machine, sent)
        assert answer.status_code == 503
        assert b"secret" not in answer.data

    def test_a_whole_call_becomes_a_deal(
        self, machine: FlaskClient, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        for sent in inbound.requests_of(mango, inbound.scenario()):
            assert knock(machine, sent).status_code == 200
        inbox.drain()
        assert {row.state for row in deliveries()} == {DeliveryState.DONE}, [
            (row.state, row.error) for row in deliveries()
        ]
        call = db.session.query(Call).one()
        assert (call.state, call.result, call.client_number) == ("ended", "answered", CLIENT)
        assert call.deal is not None
        assert call.deal.responsible_id == people["manager"].id


class TestIntake:
    def post(self, machine: FlaskClient, data: Any = None, **headers: str) -> Any:
        return machine.post(DOOR, json=LEAD if data is None else data, headers=headers)

    def test_a_request_is_created_then_a_duplicate(self, machine: FlaskClient) -> None:
        inbound.point()
        first, second = self.post(machine), self.post(machine)
        assert (first.status_code, first.json) == (201, {"ok": True, "duplicate": False})
        assert (second.status_code, second.json) == (200, {"ok": True, "duplicate": True})
        inbox.drain()
        (stored,) = deliveries()
        assert (stored.state, stored.repeats) == (DeliveryState.DONE, 1), stored.error
        assert db.session.query(Appeal).one().comment == "Двухкомнатная"

    def test_unknown_and_closed_keys(self, machine: FlaskClient) -> None:
        assert self.post(machine).status_code == 404
        inbound.point(active=False)
        answer = self.post(machine)
        assert (answer.status_code, answer.json["error"]) == (404, "not_found")
        assert deliveries() == []

    def test_a_foreign_page_is_refused(self, machine: FlaskClient) -> None:
        inbound.point(allowed_domains="example.ru\n*.example.ru")
        answer = self.post(machine, Origin="https://evil.test")
        assert (answer.status_code, answer.json["error"]) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in answer.headers
        own = self.post(machine, Origin="https://flats.example.ru")
        assert own.status_code == 201
        assert own.headers["Access-Control-Allow-Origin"] == "https://flats.example.ru"
        assert "Origin" in own.headers["Vary"]

    def test_the_preflight(self, machine: FlaskClient) -> None:
        inbound.point(allowed_domains="example.ru")
        answer = machine.options(DOOR, headers={"Origin": "https://example.ru"})
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.ru"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        foreign = machine.options(DOOR, headers={"Origin": "https://evil.test"})
        assert "Access-Control-Allow-Origin" not in foreign.headers

    def test_reading_is_refused(self, machine: FlaskClient) -> None:
        inbound.point()
        answer = machine.get(DOOR)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, OPTIONS")

    def test_a_demanded_signature(self, machine: FlaskClient) -> None:
        secret = {"secret": "site-form-secret-42", "token_secret": "t"}
        row = inbound.point(secrets=secret, require_signature=True)
        assert self.post(machine).status_code == 401
        assert deliveries() == []
        body = json.dumps(LEAD).encode()
        headers = signature_headers(doors.settings_of(row), utc_now(), body)
        sent = {**headers, "Content-Type": "application/json"}
        answer = machine.post(DOOR, data=body, headers=sent)
        (stored,) = deliveries()
        assert (answer.status_code, answer.json["id"]) == (201, stored.id)
        assert stored.trust["signed"] is True
        assert "X-Intake-Signature" not in stored.headers
        old = {
            "X-Intake-Timestamp": "1700000000",
            "X-Intake-Signature": sign("site-form-secret-42", 1700000000, body),
        }
        assert machine.post(DOOR, data=body, headers={**sent, **old}).status_code == 401

    def test_a_filled_trap_is_spam_and_kept(self, machine: FlaskClient) -> None:
        inbound.point()
        answer = self.post(machine, {**LEAD, "website": "http://spam.test"})
        assert (answer.status_code, answer.json) == (202, {"ok": True})
        inbox.drain()
        (stored,) = deliveries()
        assert stored.state == DeliveryState.SPAM
        appeal = db.session.query(Appeal).one()
        assert appeal.is_spam
        assert appeal.deal_id is None

    def test_an_empty_request_names_its_fields(self, machine: FlaskClient) -> None:
        inbound.point()
        answer = self.post(machine, {"page_url": "https://example.ru/"})
        assert answer.status_code == 422
        assert answer.json["error"] == "empty"
        assert "phone" in answer.json["fields"]
        assert deliveries() == []

    def test_broken_json_is_told_and_kept_for_a_person(self, machine: FlaskClient) -> None:
        inbound.point()
        answer = machine.post(
            DOOR, data=b'{"phone": "8903', headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json["error"]) == (400, "malformed")
        inbox.drain()
        (stored,) = deliveries()
        assert stored.state == DeliveryState.FAILED
        assert stored.error
        assert stored.attempts == 1

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"", "application/json"),
            (b"[1, 2]", "application/json"),
            (b"\xff\xfe\x00", "application/json"),
            (b"a=%FF%FF%FF", "application/x-www-form-urlencoded"),
            (b"x" * 1000, "multipart/form-data"),
            (b"x" * 1000, "multipart/form-data; boundary=b"),
            (b"<a/>", "application/xml"),
            (b"{" * 100_000, "application/json"),
            (b'{"name": "\\ud800", "phone": "\\u0000"}', "application/json"),
        ],
    )
    def test_garbage_never_breaks_the_door(
        self, machine: FlaskClient, body: bytes, kind: str
    ) -> None:
        inbound.point()
        answer = machine.post(DOOR, data=body, headers={"Content-Type": kind})
        assert 200 <= answer.status_code < 500
        inbox.drain()
        assert all(row.state not in ("new", "retry") for row in deliveries())

    def test_windows_1251_form_with_its_charset(self, machine: FlaskClient) -> None:
        inbound.point()
        body = urlencode({"имя": "Анна", "телефон": "8 903 123-45-67"}, encoding="cp1251")
        kind = "application/x-www-form-urlencoded; charset=windows-1251"
        answer = machine.post(DOOR, data=body.encode(), headers={"Content-Type": kind})
        assert answer.status_code == 201
        inbox.drain()
        assert db.session.query(Appeal).one().name == "Анна"

    def test_a_huge_request(self, machine: FlaskClient) -> None:
        inbound.point()
        answer = self.post(machine, {"comment": "я" * 300_000})
        assert (answer.status_code, answer.json["error"]) == (413, "too_large")
        assert deliveries() == []

    def test_a_form_goes_back_to_the_site_only(self, machine: FlaskClient) -> None:
        inbound.point(allowed_domains="example.ru")
        form = {**LEAD, "redirect": "https://example.ru/thanks"}
        answer = machine.post(DOOR, data=form)
        assert (answer.status_code, answer.headers["Location"]) == (303, form["redirect"])
        away = machine.post(
            DOOR, data={**LEAD, "phone": "89160000011", "redirect": "https://evil.test/"}
        )
        assert away.status_code == 201

    def test_too_many_from_one_address(self, machine: FlaskClient) -> None:
        inbound.point()
        codes = [
            self.post(machine, {**LEAD, "phone": f"8903123{n:04}"}).status_code
            for n in range(4501, 4512)
        ]
        assert codes == [201] * 10 + [429]
        assert len(deliveries()) == 10

    def test_too_many_with_one_phone(self, machine: FlaskClient) -> None:
        inbound.point()
        codes = [
            self.post(machine, {**LEAD, "comment": f"вопрос {n}"}).status_code for n in range(6)
        ]
        assert codes == [201] * 5 + [429]
        answer = self.post(machine, {**LEAD, "comment": "ещё"})
        assert int(answer.headers["Retry-After"]) > 0

    def test_the_token_of_the_snippet(self, machine: FlaskClient) -> None:
        assert machine.get(f"{DOOR}/token").status_code == 404
        inbound.point(secrets={"token_secret": "made-by-us"}, uses_snippet=True)
        answer = machine.get(f"{DOOR}/token")
        assert answer.status_code == 200
        assert answer.json["token"]
        assert answer.headers["Cache-Control"] == "no-store"
        hasty = self.post(machine, {**LEAD, "_t": answer.json["token"]})
        assert hasty.status_code == 202

    def test_a_failing_database_asks_to_repeat(
        self, machine: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbound.point()

        def fail(*_args: Any, **_kwargs: Any) -> None:
            raise OperationalError("INSERT", {}, Exception("disk full"))

        monkeypatch.setattr(inbox, "accept", fail)
        answer = self.post(machine)
        assert (answer.status_code, answer.json["error"]) == (503, "unavailable")


def test_the_doors_answer_when_nobody_is_signed_in_and_set_no_cookie(
    machine: FlaskClient, app: Flask
) -> None:
    inbound.point()
    answer = machine.post(DOOR, json=LEAD)
    assert answer.status_code == 201
    assert "Set-Cookie" not in answer.headers
    assert db.session.execute(text("SELECT count(*) FROM inbound_delivery")).scalar() == 1
