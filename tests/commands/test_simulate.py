"""The simulator against a live server: what it sends is taken in like the real thing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select
from werkzeug.serving import make_server

from crm import running
from crm.commands.simulate import simulate
from crm.integrations.telephony import registry
from crm.models import (
    Appeal,
    Call,
    CallState,
    Deal,
    Employee,
    InboundDelivery,
    IntakePoint,
    Source,
    TelephonyConnection,
    db,
)
from crm.models.demo import DemoManifest
from crm.operations import inbox, rates
from crm.operations.demo.settings import TELEPHONY_TOKEN
from crm.values import phones
from tests import inbound

LINE = "+74955550100"


@pytest.fixture
def server(committed: Flask) -> Iterator[str]:
    """Address of the product behind a real socket."""
    rates.reset()
    running = make_server("127.0.0.1", 0, committed, threaded=True)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()
    rates.reset()


@pytest.fixture
def mango(committed: Flask) -> TelephonyConnection:
    db.session.add(Source(name="Авито", phone=LINE, phone_key=phones.match_key(LINE)))
    manager = db.session.scalars(select(Employee).where(Employee.username == "manager")).one()
    return inbound.connection(manager)


@pytest.fixture
def point(committed: Flask) -> IntakePoint:
    db.session.add(Source(name="Директ", utm_source="yandex", utm_medium="cpc"))
    return inbound.point(secrets={"secret": "tests-only-signing-secret"})


def run(app: Flask, *arguments: str) -> Result:
    db.session.commit()
    return app.test_cli_runner().invoke(simulate, list(arguments))


def rows(model: Any) -> list[Any]:
    db.session.rollback()
    return list(db.session.scalars(select(model).order_by(model.id)))


def drain() -> None:
    assert inbox.drain().failed == 0


def test_a_call_becomes_a_call_and_a_deal(
    committed: Flask, server: str, mango: TelephonyConnection
) -> None:
    result = run(committed, "call", "--pause", "0", "--base-url", server)
    assert result.exit_code == 0, result.output
    assert len(rows(InboundDelivery)) == 5
    drain()
    (call,) = rows(Call)
    assert call.state == CallState.ENDED
    assert call.talk == 35
    assert call.employee.username == "manager"
    assert call.source.name == "Авито"
    (deal,) = rows(Deal)
    assert deal.id == call.deal_id
    assert deal.responsible.username == "manager"


def test_nothing_secret_is_printed(
    committed: Flask, server: str, mango: TelephonyConnection
) -> None:
    result = run(committed, "call", "--pause", "0", "--base-url", server)
    assert "/telephony/mango/…/events/call → 200" in result.output
    assert f"{server}/board" in result.output
    for secret in (mango.token, *inbound.CREDENTIALS.values()):
        assert secret not in result.output


def test_missed_calls_of_a_given_client(
    committed: Flask, server: str, mango: TelephonyConnection
) -> None:
    arguments = ["call", "--missed", "--count", "2", "--from", "8 (912) 345-67-89", "--line", LINE]
    result = run(committed, *arguments, "--pause", "0", "--json", "--base-url", server)
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["ok"]
    assert {row["status"] for row in told["requests"]} == {200}
    drain()
    calls = rows(Call)
    assert [call.state for call in calls] == [CallState.MISSED] * 2
    assert {call.client_number for call in calls} == {"79123456789"}
    assert len(rows(Deal)) == 1


def test_the_times_of_a_call_are_not_of_the_future(
    committed: Flask, server: str, mango: TelephonyConnection
) -> None:
    run(committed, "call", "--pause", "0", "--base-url", server)
    drain()
    (call,) = rows(Call)
    assert call.started_at < call.answered_at < call.ended_at <= call.created_at


def test_a_refused_signature_is_a_failure(
    committed: Flask, server: str, mango: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm.integrations.telephony.mango.signature", _forged)
    result = run(committed, "call", "--pause", "0", "--base-url", server)
    assert result.exit_code == 1
    assert "403 ОТКАЗ" in result.output
    assert rows(InboundDelivery) == []


def _forged(key: str, payload: str, salt: str) -> str:
    """The command signs wrongly, the server expects something else: each in its own thread."""
    return f"{threading.get_ident():064x}"


def test_a_lead_becomes_an_appeal_with_its_source(
    committed: Flask, server: str, point: IntakePoint
) -> None:
    arguments = ["lead", "--name", "Ольга Крылова", "--phone", "+7 921 000-55-66"]
    arguments += ["--comment", "Нужна студия", "--utm-campaign", "brand", "--base-url", server]
    result = run(committed, *arguments)
    assert result.exit_code == 0, result.output
    assert "→ 201 принято" in result.output
    drain()
    (appeal,) = rows(Appeal)
    assert appeal.source.name == "Директ"
    assert (appeal.utm_source, appeal.utm_medium, appeal.utm_campaign) == ("yandex", "cpc", "brand")
    assert appeal.contact.name == "Ольга Крылова"
    assert appeal.comment == "Нужна студия"
    (delivery,) = rows(InboundDelivery)
    assert delivery.trust["signed"] is True


def test_many_leads_are_different_people(committed: Flask, server: str, point: IntakePoint) -> None:
    result = run(committed, "lead", "--count", "3", "--unsigned", "--base-url", server)
    assert result.exit_code == 0, result.output
    drain()
    assert len({appeal.phone for appeal in rows(Appeal)}) == 3
    assert not any(delivery.trust["signed"] for delivery in rows(InboundDelivery))


def test_an_unsigned_lead_is_refused_where_a_signature_is_demanded(
    committed: Flask, server: str, point: IntakePoint
) -> None:
    point.require_signature = True
    result = run(committed, "lead", "--unsigned", "--base-url", server)
    assert result.exit_code == 1
    assert "401 ОТКАЗ" in result.output
    assert run(committed, "lead", "--base-url", server).exit_code == 0


def test_a_server_that_is_away_is_named(committed: Flask, mango: TelephonyConnection) -> None:
    # Nobody listens on port 1.
    result = run(committed, "call", "--base-url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "Сервер http://127.0.0.1:1 недоступен" in result.output
    assert mango.token not in result.output


def test_the_product_that_runs_on_this_instance_is_found(
    committed: Flask, mango: TelephonyConnection, server: str
) -> None:
    with running.only_one(Path(committed.config["INSTANCE_DIR"]), server):
        result = run(committed, "call", "--pause", "0")
    assert result.exit_code == 0, result.output
    assert f"{server}/board" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["call"], "Нет включённого подключения «mango»"),
        (["call", "--operator", "nobody"], "nobody"),
        (["lead"], "Нет включённой точки приёма заявок."),
        (["lead", "--point", "нет такой"], "«нет такой»"),
    ],
)
def test_what_is_not_set_up_is_said(committed: Flask, arguments: list[str], complaint: str) -> None:
    result = run(committed, *arguments)
    assert result.exit_code == 1
    assert complaint in result.output


@pytest.mark.parametrize("option", ["--from", "--line"])
def test_a_wrong_number_is_refused(
    committed: Flask, mango: TelephonyConnection, option: str
) -> None:
    result = run(committed, "call", option, "абв")
    assert result.exit_code == 1
    assert f"{option}: «абв» — не номер" in result.output


def test_empty_credentials_are_named(committed: Flask, mango: TelephonyConnection) -> None:
    mango.credentials = {"api_key": "only-the-key"}
    result = run(committed, "call")
    assert result.exit_code == 1
    assert "Ключ для создания подписи" in result.output


@pytest.mark.parametrize("operator", [kind.slug for kind in registry.all_operators()])
def test_every_operators_call_can_be_acted_out(
    committed: Flask, server: str, mango: TelephonyConnection, operator: str
) -> None:
    """In the demonstration a connection that is not there yet is made for it."""
    if operator != "mango":
        mango.token = TELEPHONY_TOKEN
        db.session.add(DemoManifest(ranges={}, company_before={}))
    arguments = ["call", "--operator", operator, "--pause", "0", "--base-url", server]
    result = run(committed, *arguments, "--from", "8 (912) 345-67-89", "--line", LINE)
    assert result.exit_code == 0, result.output
    drain()
    (call,) = rows(Call)
    assert (call.state, call.connection.operator) == (CallState.ENDED, operator)
    assert (call.client_number, call.employee.username) == ("79123456789", "manager")
    assert call.source.name == "Авито"


def test_without_the_demonstration_a_missing_connection_is_told(
    committed: Flask, server: str
) -> None:
    result = run(committed, "call", "--operator", "beeline", "--base-url", server)
    assert result.exit_code == 1
    assert "Нет включённого подключения" in result.output
