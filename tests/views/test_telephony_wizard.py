"""The connection wizard: operator, keys, address, numbers, lines, rules, trial; health beside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    Capability,
    CheckResult,
    ClickToCall,
    Extension,
    Line,
    OperatorError,
    PlacedCall,
    Subscription,
)
from crm.integrations.telephony.mango import Mango
from crm.models import (
    AuditEntry,
    Call,
    HistoryRun,
    RecordingState,
    RunState,
    Source,
    TelephonyConnection,
    TelephonyExtension,
    TelephonyLine,
    UserGrant,
    db,
)
from crm.operations import connections, inbox, sources, telephony_lines, telephony_settings
from crm.operations.attribution import Evidence, Step
from crm.operations.errors import ValidationErrors
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory

STEPS = ("access", "address", "numbers", "lines", "rules", "trial")


@pytest.fixture
def row(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


def page(client: Any, row: TelephonyConnection, step: str) -> str:
    answer = client.get(f"/settings/telephony/edit/{row.id}?step={step}")
    assert answer.status_code == 200
    return str(answer.text)


# --- choosing -------------------------------------------------------------------------------


def test_every_operator_can_be_chosen_and_each_of_its_steps_opens(sign_in: Any) -> None:
    admin = sign_in("admin")
    offered = admin.get("/settings/telephony/add").text
    for kind in registry.all_operators():
        assert f'value="{kind.slug}"' in offered
        answer = admin.post("/settings/telephony/add", data={"operator": kind.slug, "name": ""})
        assert answer.status_code == 302
        row = db.session.scalars(
            select(TelephonyConnection).where(TelephonyConnection.operator == kind.slug)
        ).one()
        assert row.name == kind.title
        for step in STEPS:
            text = page(admin, row, step)
            assert "{webhook_url}" not in text
            if step == "address":
                assert connections.webhook_url(row) in text
        cautions = connections.build(row).cautions
        if cautions:
            assert "не подтверждено" in page(admin, row, "access")


def test_two_connections_of_one_operator_get_different_names(sign_in: Any) -> None:
    admin = sign_in("admin")
    for _turn in range(3):
        admin.post("/settings/telephony/add", data={"operator": "mango"})
    names = db.session.scalars(select(TelephonyConnection.name).order_by(TelephonyConnection.id))
    assert list(names) == ["Mango Office", "Mango Office 2", "Mango Office 3"]


def test_nobody_but_an_administrator_opens_it(sign_in: Any, row: TelephonyConnection) -> None:
    for person in ("manager", "marketer", "head"):
        client = sign_in(person)
        assert client.get("/settings/telephony/list/").status_code in (302, 403)
        assert client.get(f"/settings/telephony/edit/{row.id}").status_code in (302, 403)
        assert client.get(f"/settings/telephony/{row.id}/pulse").status_code in (302, 403)
        answer = client.post(f"/settings/telephony/{row.id}/rotate")
        assert answer.status_code in (302, 403)
    db.session.refresh(row)
    assert row.token == inbound.TOKEN


def test_the_list_shows_the_health_of_all_in_few_queries(
    sign_in: Any, people: dict[str, Any], count_queries: Any
) -> None:
    admin = sign_in("admin")
    for number in range(12):
        made = inbound.connection(None, name=f"АТС {number}", token=f"token-{number:030d}")
        made.last_error = "ключ не принят" if number == 3 else None
        call = Call(connection_id=made.id, provider_call_id="x", final_fields=[])
        call.answered_at = utc_now()
        call.recording_state = RecordingState.STORED if number % 2 else RecordingState.NONE
        db.session.add(call)
    db.session.commit()
    with count_queries() as queries:
        text = admin.get("/settings/telephony/list/").text
    assert len(queries) <= 15
    assert "ключ не принят" in text
    assert "100 %" in text
    assert "0 %" in text


# --- keys -----------------------------------------------------------------------------------


def test_saving_may_try_the_keys_at_once(
    sign_in: Any, row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mango, "check", lambda _self: CheckResult(False, "Ключ не принят"))
    answer = sign_in("admin").post(
        f"/settings/telephony/{row.id}/credentials",
        data={"credential-api_key": "new-key-123", "check": "y"},
        follow_redirects=True,
    )
    assert "Ключ не принят" in answer.text
    db.session.refresh(row)
    assert row.credentials["api_key"] == "new-key-123"
    assert row.last_error == "Ключ не принят"


def test_a_brand_asks_for_the_fields_of_the_chosen_protocol(sign_in: Any) -> None:
    admin = sign_in("admin")
    admin.post("/settings/telephony/add", data={"operator": "mgts"})
    row = db.session.scalars(select(TelephonyConnection)).one()
    with pytest.raises(ValidationErrors) as caught:
        telephony_settings.set_credentials(row.id, None, {"credential": "", "protocol": "mango"})
    assert {error.field for error in caught.value.errors} >= {"credential-mango_api_key"} or all(
        "api" in error.field or "salt" in error.field for error in caught.value.errors
    )
    with pytest.raises(ValidationErrors, match="из списка"):
        telephony_settings.set_credentials(row.id, None, {"protocol": "telepathy"})
    telephony_settings.set_credentials(row.id, None, {"protocol": "detect"})
    assert connections.build(row).missing_credentials() == []


def test_what_an_unknown_pbx_sends_is_recognised_on_the_page(
    sign_in: Any, visitor: Any, app: Flask
) -> None:
    admin = sign_in("admin")
    admin.post("/settings/telephony/add", data={"operator": "mgts"})
    row = db.session.scalars(select(TelephonyConnection)).one()
    telephony_settings.set_credentials(row.id, None, {"protocol": "detect"})
    answer = visitor.post(
        f"/telephony/mgts/{row.token}",
        data={"cmd": "event", "type": "INCOMING", "phone": "79160001122", "crm_token": "k"},
        csrf=False,
    )
    assert answer.status_code == 200
    text = page(admin, row, "address")
    assert "ITooLabs" in text
    assert "79160001122" not in text


def test_the_operator_may_be_changed_while_the_address_stays(
    sign_in: Any, visitor: Any, row: TelephonyConnection
) -> None:
    address = f"/telephony/mango/{row.token}"
    row.operator, row.credentials = "generic", {}
    db.session.commit()
    body = {
        "event": "ringing",
        "call_id": "c1",
        "direction": "in",
        "client": "+79160001122",
        "extension": "101",
    }
    assert visitor.post(address, json=body, csrf=False).status_code == 200
    inbox.drain()
    assert db.session.scalars(select(Call)).one().client_number == "79160001122"


# --- numbers --------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the operator answers."""
    answers: dict[str, Any] = {"extensions": [], "lines": []}

    def answer(name: str) -> Any:
        def method(_self: Mango) -> Any:
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return method

    monkeypatch.setattr(Mango, "capabilities", Mango.capabilities | Capability.LINES)
    monkeypatch.setattr(Mango, "extensions", answer("extensions"))
    monkeypatch.setattr(Mango, "lines", answer("lines"))
    return answers


def test_owners_are_guessed_by_mail_number_mobile_and_name(
    sign_in: Any, row: TelephonyConnection, told: dict[str, Any], people: dict[str, Any]
) -> None:
    teammate, stranger, head = people["teammate"], people["stranger"], people["head"]
    teammate.first_name, teammate.last_name = "Пётр", "Семёнов"
    stranger.phone = "+79165550102"
    other = inbound.connection(None, name="Вторая", token="second-token-0123456789abcdefgh")
    other.extensions = [TelephonyExtension(key="303", employee_id=head.id)]
    db.session.commit()
    told["extensions"] = [
        Extension(number="101", name="Кто-то ещё", employee_key="101"),
        Extension(number="201", name="x", employee_key="u1", email=people["marketer"].email),
        Extension(number="79165550102", name="", employee_key="u2"),
        Extension(number="303", name="", employee_key="303"),
        Extension(number="204", name="Семенов Петр, менеджер", employee_key="u4"),
        Extension(number="205", name="Неизвестный", employee_key="u5"),
    ]
    answer = sign_in("admin").post(
        f"/settings/telephony/{row.id}/extensions/load", follow_redirects=True
    )
    assert "Получено номеров: 6, новых: 5" in answer.text
    db.session.refresh(row)
    owners = {item.key: item.employee_id for item in row.extensions}
    assert owners == {
        "101": people["manager"].id,
        "u1": people["marketer"].id,
        "u2": stranger.id,
        "303": head.id,
        "u4": teammate.id,
        "u5": None,
    }
    assert {item.key: item.number for item in row.extensions}["u4"] == "204"


def test_a_name_of_two_people_names_nobody(
    sign_in: Any, row: TelephonyConnection, told: dict[str, Any], people: dict[str, Any]
) -> None:
    for name in ("teammate", "stranger"):
        people[name].first_name, people[name].last_name = "Анна", "Иванова"
    db.session.commit()
    told["extensions"] = [Extension(number="1", name="Анна Иванова", employee_key="u")]
    sign_in("admin").post(f"/settings/telephony/{row.id}/extensions/load")
    db.session.refresh(row)
    assert {item.key: item.employee_id for item in row.extensions}["u"] is None


def test_a_refusal_of_the_operator_is_told(
    sign_in: Any, row: TelephonyConnection, told: dict[str, Any]
) -> None:
    told["extensions"] = OperatorError("ключ не принят", True)
    told["lines"] = OperatorError("линий не отдаём", True)
    admin = sign_in("admin")
    for name, words in (("extensions", "ключ не принят"), ("lines", "линий не отдаём")):
        path = f"/settings/telephony/{row.id}/{name}/load"
        assert words in admin.post(path, follow_redirects=True).text


def test_an_internal_number_is_forgotten(sign_in: Any, row: TelephonyConnection) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/extensions/delete"
    assert "удалён" in admin.post(path, data={"key": "101"}, follow_redirects=True).text
    assert "нет" in admin.post(path, data={"key": "101"}, follow_redirects=True).text
    db.session.refresh(row)
    assert row.extensions == []


# --- lines ----------------------------------------------------------------------------------


def source_of(number: str) -> tuple[int, Step]:
    verdict = sources.attribute(Evidence(called_number=number, channel="call"))
    return verdict.source_id, verdict.step


def test_a_line_leads_its_calls_to_the_source(
    sign_in: Any, row: TelephonyConnection, make: Factory
) -> None:
    avito = make.source("Авито")
    data = {"new-number": "8 (812) 640-11-02", "new-source": str(avito.id)}
    sign_in("admin").post(f"/settings/telephony/{row.id}/lines", data=data)
    line = db.session.scalars(select(TelephonyLine)).one()
    assert (line.number, line.source_id) == ("+78126401102", avito.id)
    assert source_of("78126401102") == (avito.id, Step.PHONE)
    sign_in("admin").post(f"/settings/telephony/{row.id}/lines", data={f"source-{line.id}": ""})
    assert source_of("78126401102")[1] != Step.PHONE


def test_two_lines_may_advertise_one_source(row: TelephonyConnection, make: Factory) -> None:
    avito = make.source("Авито", phone="+78126401102", phone_key="8126401102")
    telephony_lines.add_line(row.id, "+78126401103", None, source_id=avito.id)
    assert source_of("78126401102")[0] == source_of("78126401103")[0] == avito.id


def test_a_refused_new_line_stays_in_its_field(
    sign_in: Any, row: TelephonyConnection, make: Factory
) -> None:
    avito = make.source("Авито")
    telephony_lines.add_line(row.id, "+78126401105", None)
    known = db.session.scalars(select(TelephonyLine)).one()
    data = {f"source-{known.id}": str(avito.id), "new-number": "812", "new-source": str(avito.id)}
    path = f"/settings/telephony/{row.id}/lines"
    answer = sign_in("admin").post(path, data=data, follow_redirects=True)
    assert "Номер не распознан" in answer.text
    assert 'value="812"' in answer.text
    assert answer.text.count(f'<option value="{avito.id}" selected>') == 2
    db.session.expire_all()
    assert known.source_id == avito.id, "the rest of the form is kept"


def test_a_known_internal_number_is_not_taken_from_its_owner(
    sign_in: Any, row: TelephonyConnection, people: dict[str, Any]
) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/extensions"
    teammate = str(people["teammate"].id)
    for key, owner in (("101", teammate), ("101", "")):
        answer = admin.post(path, data={"new-key": key, "new-owner": owner}, follow_redirects=True)
        assert "уже есть в списке" in answer.text
        assert 'name="new-key" maxlength="64" value="101"' in answer.text
    owned = db.session.scalars(select(TelephonyExtension).filter_by(key="101")).one()
    assert owned.employee_id == people["manager"].id
    answer = admin.post(path, data={"new-key": "102", "new-owner": teammate}, follow_redirects=True)
    assert "сохранены" in answer.text
    added = db.session.scalars(select(TelephonyExtension).filter_by(key="102")).one()
    assert added.employee_id == people["teammate"].id


def test_a_connection_made_by_mistake_is_deleted_from_its_page(
    sign_in: Any, row: TelephonyConnection
) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/delete/{row.id}"
    telephony_lines.add_line(row.id, "+78126401105", None)
    call = Call(connection_id=row.id, provider_call_id="1", final_fields=[])
    db.session.add(call)
    db.session.commit()
    assert f'action="{path}"' in page(admin, row, "access")
    assert "уже были звонки" in admin.post(path, follow_redirects=True).text
    db.session.delete(call)
    db.session.commit()
    assert "Удалено" in admin.post(path, follow_redirects=True).text
    assert db.session.scalars(select(TelephonyConnection)).all() == []


def test_the_pages_of_calls_lead_to_the_settings_of_telephony(
    sign_in: Any, people: dict[str, Any]
) -> None:
    admin = sign_in("admin")
    for path in ("/calls", "/calls/stats?period=30"):
        assert 'href="/settings/telephony/list/"' in admin.get(path).text
    assert admin.get("/settings/telephony/list/").status_code == 200


def test_a_number_tells_of_one_source_only(
    sign_in: Any, row: TelephonyConnection, make: Factory
) -> None:
    make.source("Авито", phone="+78126401102", phone_key="8126401102")
    cian = make.source("ЦИАН")
    answer = sign_in("admin").post(
        f"/settings/telephony/{row.id}/lines",
        data={"new-number": "+78126401102", "new-source": str(cian.id)},
        follow_redirects=True,
    )
    assert "указан телефоном источника «Авито»" in answer.text
    telephony_lines.add_line(row.id, "+78126401105", None, source_id=cian.id)
    other = Source(name="Юла", phone="+7 812 640-11-05", active=True)
    errors = sources.check_source(other, None)
    assert [error.field for error in errors] == ["phone"]


def test_lines_come_from_the_operator_and_from_calls(
    sign_in: Any, row: TelephonyConnection, told: dict[str, Any]
) -> None:
    told["lines"] = [
        Line(number="78126401102", name="Главная"),
        Line(number="8 812 640 11 02", name="Та же"),
        Line(number="101", name="внутренний"),
        Line(number="мусор"),
    ]
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/lines/load"
    assert "новых: 1" in admin.post(path, follow_redirects=True).text
    for name in ("a", "b"):
        db.session.add(
            Call(connection_id=row.id, provider_call_id=name, final_fields=[],
                 line_number="78126401109")
        )  # fmt: skip
    db.session.commit()
    answer = admin.post(path, data={"seen": "y"}, follow_redirects=True)
    assert "Новых линий из звонков: 1" in answer.text
    numbers = db.session.scalars(select(TelephonyLine.number).order_by(TelephonyLine.number))
    assert list(numbers) == ["+78126401102", "+78126401109"]


@pytest.mark.parametrize("number", ["мусор", "101", "+7", "8" * 40])
def test_what_is_no_number_is_refused(sign_in: Any, row: TelephonyConnection, number: str) -> None:
    answer = sign_in("admin").post(
        f"/settings/telephony/{row.id}/lines", data={"new-number": number}, follow_redirects=True
    )
    assert "Номер не распознан" in answer.text
    assert db.session.scalars(select(TelephonyLine)).all() == []


def test_lines_of_another_connection_are_out_of_reach(
    sign_in: Any, row: TelephonyConnection
) -> None:
    other = inbound.connection(None, name="Вторая", token="second-token-0123456789abcdefgh")
    line = telephony_lines.add_line(other.id, "+78126401102", None)
    admin = sign_in("admin")
    for path, data in (
        ("lines", {f"source-{line.id}": ""}),
        ("lines/delete", {"line": str(line.id)}),
    ):
        url = f"/settings/telephony/{row.id}/{path}"
        assert "Такой линии нет" in admin.post(url, data=data, follow_redirects=True).text
    assert db.session.get(TelephonyLine, line.id) is not None


def test_who_calls_from_an_own_line_is_no_client(row: TelephonyConnection) -> None:
    from crm.operations import own_numbers

    telephony_lines.add_line(row.id, "+78126401102", None)
    assert "8126401102" in own_numbers.known()


# --- rules ----------------------------------------------------------------------------------


def rules(row: TelephonyConnection, **changed: str) -> dict[str, str]:
    return {
        "name": row.name,
        "operator": "mango",
        "assign_rule": "free",
        "callback_minutes": "15",
        "active": "y",
        **changed,
    }


def test_rules_are_saved(sign_in: Any, row: TelephonyConnection, people: dict[str, Any]) -> None:
    data = rules(
        row,
        assign_rule="person",
        assign_to=str(people["teammate"].id),
        work_start="9:00",
        work_end="21:00",
        callback_minutes="30",
        keep_recordings_days="180",
        makes_deals="y",
    )
    answer = sign_in("admin").post(f"/settings/telephony/edit/{row.id}?step=rules", data=data)
    assert answer.status_code == 302
    assert "step=rules" in answer.headers["Location"]
    db.session.refresh(row)
    assert (row.assign_rule, row.assign_to_id) == ("person", people["teammate"].id)
    assert (row.work_start, row.work_end) == (dt.time(9), dt.time(21))
    assert (row.callback_minutes, row.keep_recordings_days) == (30, 180)
    assert (row.makes_deals, row.callback_task) == (True, False)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"assign_rule": "person"}, "Выберите работающего сотрудника"),
        ({"assign_rule": "fate"}, "kv-field-bad"),
        ({"work_start": "9:00"}, "и начало, и конец"),
        ({"callback_minutes": "0"}, "От 1 минуты"),
        ({"callback_minutes": "99999"}, "От 1 минуты"),
        ({"keep_recordings_days": "-1"}, "От 1 дня"),
        ({"ignored_numbers": "мусор"}, "Это не номера"),
    ],
)
def test_impossible_rules_are_refused_beside_the_field(
    sign_in: Any, row: TelephonyConnection, changed: dict[str, str], words: str
) -> None:
    answer = sign_in("admin").post(
        f"/settings/telephony/edit/{row.id}?step=rules", data=rules(row, **changed)
    )
    assert answer.status_code == 200
    assert words in answer.text


# --- trial ----------------------------------------------------------------------------------


def test_the_page_hears_what_has_come(sign_in: Any, row: TelephonyConnection, visitor: Any) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/pulse"
    assert admin.get(path).json["events"] == []
    scenario = inbound.scenario(started_at=utc_now().replace(microsecond=0))
    for sent in inbound.requests_of(row, scenario):
        inbound.deliver(row, sent)
    inbox.drain()
    told_first = admin.get(path).json
    assert told_first["call"]["number"] == "+7 916 123-45-67"
    assert told_first["call"]["deal"].startswith("/deals/")
    assert told_first["events"][0]["href"].startswith("/settings/deliveries/")
    assert admin.get(f"{path}?after={told_first['last']}").json["events"] == []


def test_a_trial_call_is_placed(
    sign_in: Any, row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch, people: dict[str, Any]
) -> None:
    placed: list[ClickToCall] = []

    def place(_self: Mango, order: ClickToCall) -> PlacedCall:
        placed.append(order)
        return PlacedCall(request_id=order.request_id)

    monkeypatch.setattr(Mango, "place_call", place)
    telephony_lines.add_line(row.id, "+78126401102", None)
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/trial"
    data = {"extension": str(row.extensions[0].id), "number": "8 916 000 11 22"}
    assert "снимите трубку" in admin.post(path, data=data, follow_redirects=True).text
    (order,) = placed
    assert (order.extension, order.number, order.line_number) == (
        "101",
        "79160001122",
        "78126401102",
    )
    assert 'value="8 916 000 11 22"' not in page(admin, row, "trial")
    for wrong in ({**data, "number": "мусор"}, {**data, "extension": "999"}):
        refused = admin.post(path, data=wrong)
        assert "916" not in refused.location, "addresses are logged"
        text = page(admin, row, "trial")
        assert f'value="{wrong["number"]}"' in text, "what was refused can be mended"
        assert f'value="{wrong["number"]}"' not in page(admin, row, "trial"), "once"
    assert len(placed) == 1
    db.session.add(
        UserGrant(user_id=people["admin"].id, code=Grant.FORBID_CLICK_TO_CALL, allow=True)
    )
    db.session.commit()
    assert "отключены" in sign_in("admin").post(path, data=data, follow_redirects=True).text
    assert len(placed) == 1


def test_a_look_into_the_history_is_ordered_and_reported(
    sign_in: Any, row: TelephonyConnection
) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/{row.id}/history"
    assert "Сверка запущена" in admin.post(path, data={"span": "week"}, follow_redirects=True).text
    run = db.session.scalars(select(HistoryRun)).one()
    assert run.by_hand
    assert dt.timedelta(days=7) <= run.until - run.since < dt.timedelta(days=7, minutes=1)
    assert "уже идёт" in admin.post(path, follow_redirects=True).text
    run.state, run.seen, run.found = RunState.DONE, 41, 3
    db.session.commit()
    text = page(admin, row, "trial")
    assert "41" in text
    assert f"/calls?found=history&amp;connection={row.id}" in text
    actions = set(db.session.scalars(select(AuditEntry.action)))
    assert "history" in actions


def test_a_subscription_is_made_by_hand(
    sign_in: Any, row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = utc_now() + dt.timedelta(hours=1)
    monkeypatch.setattr(Mango, "capabilities", Mango.capabilities | Capability.SUBSCRIPTION)
    monkeypatch.setattr(Mango, "subscribe", lambda *_args: Subscription(id="s1", expires_at=until))
    admin = sign_in("admin")
    answer = admin.post(f"/settings/telephony/{row.id}/subscribe", follow_redirects=True)
    assert "Подписка действует до" in answer.text
    db.session.refresh(row)
    assert (row.subscription_id, row.subscribed_until) == ("s1", until)


@pytest.mark.parametrize(
    "path",
    ["credentials", "check", "rotate", "subscribe", "extensions", "extensions/load",
     "extensions/delete", "lines", "lines/load", "lines/delete", "history", "trial"],
)  # fmt: skip
def test_a_connection_that_is_not_there(sign_in: Any, path: str) -> None:
    assert sign_in("admin").post(f"/settings/telephony/999/{path}").status_code == 404
