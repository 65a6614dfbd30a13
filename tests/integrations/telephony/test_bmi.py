"""BMI Telecom: a brand over protocols, the general one first."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallScenario,
    Capability,
    ClickToCall,
    KnownCaller,
    OperatorError,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.bmi import BmiTelecom
from crm.integrations.telephony.brands import Brand
from crm.integrations.telephony.generic import Generic
from crm.integrations.telephony.mango import Mango
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import NOW, TOKEN, OperatorConformance

KEY = "0123456789abcdef0123456789abcdef"
MANGO = {
    "protocol": "mango",
    "mango_api_key": "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "api_salt": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "api_base": "https://api.pbx.example.ru/vpbx/",
}
SCENARIO = CallScenario(
    call_key="brand-1",
    client_number="79031234567",
    line_number="74950001122",
    extension="101",
    started_at=NOW,
)
CALL = ClickToCall(extension="101", number="79161112233", request_id="crm-0042")
RINGING = {"event": "ringing", "call_id": "bmi-1", "direction": "in", "client": "+79000000001"}


def bmi(**settings: str) -> BmiTelecom:
    return BmiTelecom(7, settings, NoNetwork(), webhook_token=TOKEN)


def inbound(value: object) -> InboundRequest:
    body = json.dumps(value).encode()
    headers = {"Content-Type": "application/json"}
    return InboundRequest("POST", "", {}, headers, body, "127.0.0.1", NOW, TOKEN)


def mango_row(scenario: CallScenario) -> dict[str, object]:
    return {
        "entry_id": f"sim:{scenario.call_key}",
        "context_type": 1,
        "context_status": int(scenario.answered),
        "caller_number": scenario.client_number,
        "called_number": scenario.line_number,
        "context_start_time": int(scenario.started_at.timestamp()),
        "duration": 101,
        "talk_duration": 90 if scenario.answered else 0,
        "context_calls": [],
    }


class TestBmiConformance(OperatorConformance):
    operator_class = BmiTelecom
    settings_of = {"signing": "on", "signing_key": KEY}


class TestBmiConformanceOverMango(OperatorConformance):
    operator_class = BmiTelecom
    settings_of = MANGO

    def test_missing_credentials_are_named(self) -> None:
        assert bmi().missing_credentials() == []
        empty = bmi(protocol="mango")
        names = [field.name for field in empty.missing_credentials()]
        assert names == ["mango_api_key", "api_salt", "api_base"]
        assert "«MANGO: Адрес API»" in empty.check().message

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        def respond(asked: Asked) -> Answer:
            value = {"result": 1000, "key": "k", "status": "complete"}
            rows = {"data": [{"list": [mango_row(scenario)]}]}
            return Answer(200, json.dumps({**value, **rows}).encode())

        with serving(respond) as base, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Mango, "poll_interval", timedelta(0))
            settings = {**MANGO, "api_base": base}
            operator = BmiTelecom(7, settings, PlainClient(), webhook_token=TOKEN)
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestChoice:
    def test_the_general_protocol_is_the_default_and_every_event_is_the_brands(self) -> None:
        operator = bmi()
        assert isinstance(operator.driver, Generic)
        (event,) = operator.parse(inbound(RINGING))
        assert (event.operator, event.connection_id) == ("bmi", 7)
        assert operator.unknown_event(inbound({})).operator == "bmi"

    def test_events_of_a_driver_that_writes_its_own_name_are_the_brands_too(self) -> None:
        operator = bmi(**MANGO)
        requests = [step.received(NOW, TOKEN) for step in operator.simulate(SCENARIO)]
        told = [event for request in requests for event in operator.parse(request)]
        assert {event.operator for event in told} == {"bmi"}

    def test_a_protocol_that_is_not_offered_is_the_default(self) -> None:
        assert isinstance(bmi(protocol="mts").driver, Generic)
        assert isinstance(bmi(protocol="mango").driver, Mango)

    def test_an_unknown_notice_of_a_protocol_is_the_brands(self) -> None:
        request = InboundRequest("POST", "events/next-year", {}, {}, b"", "127.0.0.1", NOW, TOKEN)
        (event,) = bmi(**MANGO).parse(request)
        assert (event.kind, event.operator) == (CallKind.UNKNOWN, "bmi")

    def test_what_is_declared_follows_the_choice(self) -> None:
        assert bmi().capabilities == Capability.SYNCHRONOUS_REPLY
        assert bmi(**MANGO).capabilities == Mango.capabilities
        assert bmi(recording_hosts="records.example.ru").recording_hosts == ("records.example.ru",)
        assert bmi(**MANGO).recording_hosts == Mango.recording_hosts
        assert bmi(**MANGO).recording_delay == Mango.recording_delay
        assert bmi(**MANGO).setup_steps[:2] == BmiTelecom.own_steps
        assert "MANGO" in " ".join(bmi(**MANGO).setup_steps)
        assert "lk.mango-office.ru" not in " ".join(bmi(**MANGO).setup_steps)
        assert bmi().setup_steps == (*BmiTelecom.own_steps, *Generic.setup_steps)
        assert bmi().cautions == (*BmiTelecom.own_cautions, *Generic.cautions)
        assert bmi().setup_texts == (*BmiTelecom.own_texts, *Generic.setup_texts)

    def test_the_class_declares_its_default(self) -> None:
        assert BmiTelecom.setup_steps == bmi().setup_steps
        assert BmiTelecom.setup_texts == bmi().setup_texts
        assert BmiTelecom.cautions == bmi().cautions
        assert BmiTelecom.capabilities == Generic.capabilities
        assert BmiTelecom.recording_delay == Generic.recording_delay

    def test_the_form_has_the_selector_and_every_protocols_fields(self) -> None:
        selector, *fields = BmiTelecom.credentials
        assert (selector.name, selector.default, selector.secret) == ("protocol", "generic", False)
        assert [value for value, _ in selector.choices] == [
            "generic",
            "itoolabs",
            "mango",
            "detect",
        ]
        names = [field.name for field in fields]
        assert len(set(names)) == len(names)
        # Two protocols have a key of the API, and one a protocol of its own.
        assert {"itoolabs_api_key", "mango_api_key", "itoolabs_protocol", "call_url"} <= set(names)
        assert not any(field.required for field in fields)
        assert all(
            field.label.split(":")[0] in ("Общий протокол", "ITooLabs", "MANGO") for field in fields
        )

    def test_only_the_chosen_protocols_fields_are_required(self) -> None:
        required = {field.name for field in bmi(**MANGO).credentials if field.required}
        assert required == {"protocol", "mango_api_key", "api_salt", "api_base"}

    def test_conditional_needs_of_the_protocol_are_known(self) -> None:
        missing = bmi(signing="on").missing_credentials()
        assert [field.name for field in missing] == ["signing_key"]
        assert "«Общий протокол: Ключ подписи»" in bmi(signing="on").check().message

    def test_the_registry_has_brands_but_not_their_base(self) -> None:
        assert registry.get("bmi") is BmiTelecom
        assert Brand not in registry.all_operators()

    def test_it_says_that_nothing_is_known(self) -> None:
        assert "не нашли" in BmiTelecom.cautions[0]
        assert "Что спросить у оператора" in [text.title for text in BmiTelecom.setup_texts]


class TestDelegation:
    def test_secrets_of_the_chosen_protocol_are_checked(self) -> None:
        (first, *_) = bmi(**MANGO).simulate(SCENARIO)
        request = first.received(NOW, TOKEN)
        bmi(**MANGO).verify(request)
        with pytest.raises(WebhookRejected, match="Подпись"):
            bmi(**{**MANGO, "api_salt": "other"}).verify(request)
        with pytest.raises(WebhookRejected, match="нет секрета"):
            BmiTelecom(7, {}, NoNetwork()).verify(inbound(RINGING))

    def test_questions_and_replies_are_the_protocols(self) -> None:
        operator = bmi()
        assert operator.caller_question(inbound(RINGING)) == "79000000001"
        reply = operator.reply(inbound(RINGING), KnownCaller(name="Анна"))
        assert json.loads(reply.body) == {"ok": True, "contact": "Анна"}
        assert bmi(**MANGO).reply(inbound(RINGING)).body == b'{"success":true}'
        assert operator.delivery_key(inbound(RINGING)) == Generic(7, {}, NoNetwork()).delivery_key(
            inbound({**RINGING, "line": "1"})
        )

    def test_a_call_is_placed_with_the_connections_credentials_and_fails_in_its_name(self) -> None:
        answers = iter([Answer(200, b'{"id": "p-1"}'), Answer(401, b"key-of-the-pbx-0001")])
        asked: list[Asked] = []

        def respond(request: Asked) -> Answer:
            asked.append(request)
            return next(answers)

        with serving(respond) as base:
            settings = {
                "call_url": base + "/call/{extension}?key={token}",
                "api_token": "key-of-the-pbx-0001",
                "call_id_path": "id",
            }
            operator = BmiTelecom(7, settings, PlainClient(), webhook_token=TOKEN)
            assert operator.place_call(CALL).provider_call_id == "p-1"
            with pytest.raises(OperatorError, match="не приняты") as caught:
                operator.place_call(CALL)
        assert asked[0].path == "/call/101?key=key-of-the-pbx-0001"
        assert caught.value.provider == "BMI Telecom"
        assert "key-of-the-pbx-0001" not in f"{caught.value} {caught.value!r}"

    def test_the_server_of_another_operator_is_never_asked(self) -> None:
        """Keys of this operator must not go to the address that is Mango's default."""
        keys = {name: value for name, value in MANGO.items() if name != "api_base"}
        operator = bmi(**keys)
        for ask in (
            lambda: operator.place_call(CALL),
            lambda: list(operator.history(NOW, NOW + timedelta(hours=1))),
            lambda: operator.fetch_recording(RecordingRef(recording_ref="1")),
            operator.extensions,
            operator.lines,
            operator.probe,
        ):
            with pytest.raises(OperatorError, match="«MANGO: Адрес API»"):
                ask()

    def test_a_right_general_connection_passes_the_check(self) -> None:
        assert bmi().check().ok
        wrong = bmi(call_url="pbx.example.ru").check()
        assert not wrong.ok
        assert wrong.message.startswith("BMI Telecom: «Адрес для звонка из CRM»")
