"""The doors of machines attacked: nothing in a body may break a door or get stuck behind it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crm.models import Appeal, DeliveryState, db
from crm.operations import inbox, rates
from tests import inbound
from tests.inbound import KEY, TOKEN, deliveries
from tests.views.test_attack import GARBAGE, ODD, body_of

ROUNDS = 60
FIELDS = """
    name phone email comment page_url referrer utm_source utm_medium utm_campaign utm_content
    utm_term listing_ref listing_id source_id responsible_email created_at external_id deal_type
    form_name consent policy_version token client user_agent ip phones website idempotency_key
""".split()
SETTLED = {DeliveryState.DONE, DeliveryState.SPAM, DeliveryState.IGNORED}


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    rates.reset()
    yield
    rates.reset()


@pytest.fixture
def machine(app: Flask) -> FlaskClient:
    return app.test_client(use_cookies=False)


def test_a_request_with_garbage_is_taken_in_or_refused(machine: FlaskClient) -> None:
    inbound.point(allow_source=True, allow_responsible=True)
    wrong, taken = [], 0
    for turn in range(ROUNDS):
        rates.reset()
        chance = random.Random(turn)
        lead: dict[str, Any] = {
            name: chance.choice([*GARBAGE, *ODD, "Анна"])
            for name in FIELDS
            if chance.random() < 0.6
        }
        lead["phone"] = f"+7912345{turn:04d}"
        answer = machine.post(f"/api/v1/intake/{KEY}", json=lead)
        taken += answer.status_code in (200, 201, 202)
        if answer.status_code >= 500 or "sqlalche" in body_of(answer):
            wrong.append(f"{answer.status_code} {lead}"[:2000])
    assert wrong == []
    assert taken > 5
    inbox.drain(limit=500)
    stuck = [f"{row.state} {row.error}" for row in deliveries() if row.state not in SETTLED]
    assert stuck == []


def test_a_request_in_a_form_with_garbage_is_taken_in_or_refused(machine: FlaskClient) -> None:
    inbound.point()
    wrong = []
    for turn in range(ROUNDS):
        rates.reset()
        chance = random.Random(turn)
        lead = {
            name: chance.choice(GARBAGE).encode("utf-8", "surrogatepass")
            for name in FIELDS
            if chance.random() < 0.6
        }
        lead["phone"] = f"+7912345{turn:04d}".encode()
        answer = machine.post(f"/api/v1/intake/{KEY}?name=%FF%00", data=lead)
        if answer.status_code >= 500:
            wrong.append(f"{answer.status_code} {lead}"[:2000])
    assert wrong == []
    inbox.drain(limit=500)
    # A wrong charset waits for a person, with its reason in words.
    assert crashes() == []


def test_a_client_with_a_broken_name_is_not_lost(machine: FlaskClient) -> None:
    inbound.point()
    body = b'{"name": "\\ud800\\u0000Anna", "phone": "+79123456789", "comment": "\\udfff\\u0000"}'
    answer = machine.post(
        f"/api/v1/intake/{KEY}", data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (200, 201, 202)
    inbox.drain()
    (appeal,) = db.session.query(Appeal)
    assert "Anna" in appeal.name
    assert appeal.phone == "+79123456789"


def test_an_event_with_garbage_breaks_no_door(
    app: Flask, machine: FlaskClient, people: dict[str, Any]
) -> None:
    row = inbound.connection(people["manager"])
    first = inbound.requests_of(row, inbound.scenario())[0]
    wrong = []
    for turn in range(ROUNDS):
        chance = random.Random(turn)
        body = {name: chance.choice([*GARBAGE, *ODD]) for name in ("json", "sign", "vpbx_api_key")}
        for sent in (
            {"data": {k: str(v).encode("utf-8", "surrogatepass") for k, v in body.items()}},
            {"json": body},
            {"data": first.body[: turn * 7], "headers": dict(first.headers)},
        ):
            answer = machine.post(f"/telephony/mango/{TOKEN}/{first.path_tail}", **sent)
            if answer.status_code >= 500:
                wrong.append(f"{answer.status_code} {sent}"[:2000])
    assert wrong == []


@pytest.mark.parametrize("values", [GARBAGE, ODD])
def test_a_signed_event_with_garbage_is_kept_and_stops_nobody(
    app: Flask, people: dict[str, Any], values: list[Any]
) -> None:
    """The operator itself may send anything: a delivery that cannot be read fails alone."""
    row = inbound.connection(people["manager"])
    for turn in range(ROUNDS):
        chance = random.Random(turn)
        sent = chance.choice(inbound.requests_of(row, inbound.scenario()))
        inbound.deliver(row, _spoilt(row, sent, chance, values))
    inbox.drain(limit=500)
    assert crashes() == []


def crashes() -> list[str]:
    """Failures that no adapter has foreseen."""
    return [row.error for row in deliveries() if row.error and "Error: " in row.error]


def _spoilt(row: Any, sent: Any, chance: random.Random, values: list[Any]) -> Any:
    """The request with some of its values replaced, signed anew."""
    event = json.loads(parse_qs(sent.body.decode())["json"][0])
    _spoil(event, chance, values)
    text = json.dumps(event)
    key, salt = inbound.CREDENTIALS["api_key"], inbound.CREDENTIALS["api_salt"]
    sign = hashlib.sha256(f"{key}{text}{salt}".encode()).hexdigest()
    return replace(sent, body=urlencode({"vpbx_api_key": key, "sign": sign, "json": text}).encode())


def _spoil(event: dict[str, Any], chance: random.Random, values: list[Any]) -> None:
    for name, value in event.items():
        if isinstance(value, dict) and chance.random() < 0.8:
            _spoil(value, chance, values)
        elif chance.random() < 0.35:
            event[name] = chance.choice(values)
