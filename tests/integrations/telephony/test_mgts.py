"""МГТС: a brand whose protocol is not known; ITooLabs is the first candidate."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallScenario,
    Capability,
    ClickToCall,
    MissingCredentials,
    OperatorError,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.generic import Generic
from crm.integrations.telephony.itoolabs import ITooLabs
from crm.integrations.telephony.mango import Mango
from crm.integrations.telephony.mgts import Mgts
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import NOW, TOKEN, OperatorConformance

SETTINGS = {
    "crm_token": "crm-token-of-the-test-0123456789ab",
    "itoolabs_api_key": "pbx-key-of-the-test-0001",
    "api_url": "https://pbx.example.ru/crmapi/v1",
}
CALL = ClickToCall(extension="101", number="79161112233", request_id="crm-0042")


def mgts(**changed: str) -> Mgts:
    return Mgts(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def asking(base: str, **changed: str) -> Mgts:
    settings = {**SETTINGS, "api_url": f"{base}/crmapi/v1", **changed}
    return Mgts(7, settings, PlainClient(), webhook_token=TOKEN)


def row(scenario: CallScenario) -> dict[str, str]:
    return {
        "callid": f"sim:{scenario.call_key}",
        "type": "in",
        "status": "Success" if scenario.answered else "missed",
        "phone": scenario.client_number,
        "diversion": scenario.line_number,
        "user": "anna",
        "start": scenario.started_at.strftime("%Y%m%dT%H%M%SZ"),
        "wait": "11",
        "duration": "90" if scenario.answered else "0",
    }


class TestMgtsConformance(OperatorConformance):
    operator_class = Mgts
    settings_of = SETTINGS
    answered_kinds = frozenset({CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED})

    def test_missing_credentials_are_named(self) -> None:
        """The form requires nothing of a protocol that may not be chosen."""
        empty = Mgts(7, {}, NoNetwork(), webhook_token=TOKEN)
        missing = empty.missing_credentials()
        assert [item.name for item in missing] == ["crm_token", "api_url", "itoolabs_api_key"]
        for item in missing:
            assert f"«{item.label}»" in empty.check().message
        with pytest.raises(MissingCredentials, match="МГТС"):
            empty.require_credentials()

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        answer = json.dumps([row(scenario)]).encode()
        with serving(lambda _: Answer(200, answer)) as base:
            return list(asking(base).history(scenario.started_at, scenario.ended_at))


class TestMgtsConformanceOverTheGeneralProtocol(OperatorConformance):
    operator_class = Mgts
    settings_of = {"protocol": "generic"}

    def test_missing_credentials_are_named(self) -> None:
        assert mgts(protocol="generic").missing_credentials() == []


class TestMgts:
    def test_it_offers_what_is_described_and_says_that_nothing_is_confirmed(self) -> None:
        selector = Mgts.credentials[0]
        assert [value for value, _ in selector.choices] == [
            "itoolabs",
            "mango",
            "generic",
            "detect",
        ]
        assert selector.default == "itoolabs"
        cautions = " ".join(Mgts.cautions)
        for words in ("ни один протокол не подтверждён", "не подтверждал", "протокола МТС"):
            assert words in cautions

    @pytest.mark.parametrize(
        ("protocol", "driver"),
        [("", ITooLabs), ("itoolabs", ITooLabs), ("mango", Mango), ("generic", Generic)],
    )
    def test_the_choice_decides_the_driver(self, protocol: str, driver: type) -> None:
        operator = mgts(protocol=protocol)
        assert isinstance(operator.driver, driver)
        assert any("{webhook_url}" in step for step in operator.setup_steps)
        assert (operator.driver.title, operator.driver.slug) == ("МГТС", "mgts")

    def test_no_other_operators_cabinet_is_named(self) -> None:
        for protocol in ("itoolabs", "mango", "generic"):
            steps = " ".join(mgts(protocol=protocol).setup_steps)
            assert "megapbx" not in steps
            assert "mango-office" not in steps

    def test_the_letter_to_the_operator_holds_no_secret(self) -> None:
        letter = Mgts.setup_texts[0].text
        assert "{webhook_url}" not in letter
        for words in ("API", "ключ", "адрес нашей CRM", "звонит", "запись", "номер компании"):
            assert words in letter

    def test_an_event_of_the_platform_is_of_mgts(self) -> None:
        body = (
            "cmd=event&type=INCOMING&phone=79001112233&diversion=74950001122&user=anna&ext=701"
            f"&callid=A1B2C3D4E5F60718-0001&crm_token={SETTINGS['crm_token']}"
        )
        request = InboundRequest(
            "POST",
            "",
            {},
            {"Content-Type": "application/x-www-form-urlencoded"},
            body.encode(),
            "127.0.0.1",
            NOW,
            TOKEN,
        )
        operator = mgts()
        operator.verify(request)
        (event,) = operator.parse(request)
        assert (event.operator, event.kind) == ("mgts", CallKind.RINGING)
        assert (event.extension, event.line_number) == ("701", "74950001122")
        with pytest.raises(WebhookRejected):
            mgts(crm_token="another-token-0123456789abcdef").verify(request)

    def test_what_is_chosen_within_the_protocol_reaches_its_driver(self) -> None:
        assert Capability.LINES in mgts().capabilities
        assert Capability.LINES not in mgts(itoolabs_protocol="commands").capabilities
        assert "records.example.ru" in mgts(recording_host="records.example.ru").recording_hosts

    def test_a_call_is_placed_with_the_key_of_this_connection(self) -> None:
        asked: list[Asked] = []

        def respond(request: Asked) -> Answer:
            asked.append(request)
            return Answer(200, b'{"callid": "A1B2C3D4E5F60718-0009"}')

        with serving(respond) as base:
            placed = asking(base).place_call(CALL)
        assert placed.provider_call_id == "A1B2C3D4E5F60718-0009"
        headers = {name.lower(): value for name, value in asked[0].headers.items()}
        assert headers["x-api-key"] == SETTINGS["itoolabs_api_key"]
        assert urlsplit(asked[0].path).path == "/crmapi/v1/makecall"

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (Answer(401), True),
            (Answer(403), True),
            (Answer(429, headers={"Retry-After": "3"}), False),
            (Answer(502, b"<html>", "text/html"), False),
            (Answer(200, b"<html>", "text/html"), False),
        ],
    )
    def test_a_refusal_is_told_in_the_brands_name(self, answer: Answer, permanent: bool) -> None:
        with serving(lambda _: answer) as base, pytest.raises(OperatorError) as caught:
            list(asking(base).history(NOW - timedelta(hours=1), NOW))
        assert (caught.value.provider, caught.value.permanent) == ("МГТС", permanent)

    def test_a_recording_comes_from_the_pbx_and_from_nowhere_else(self) -> None:
        with serving(lambda _: Answer(200, b"ID3sound", "audio/mpeg")) as base:
            operator = asking(base)
            with operator.fetch_recording(RecordingRef(recording_url=f"{base}/1.mp3")) as sound:
                assert b"".join(sound.chunks) == b"ID3sound"
            with pytest.raises(OperatorError, match="чужой"):
                operator.fetch_recording(RecordingRef(recording_url="https://evil.example/1.mp3"))


def test_subscriptions_and_the_end_of_calls_are_those_of_the_chosen_protocol(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ITooLabs, "ends_by_legs", True)
    monkeypatch.setattr(ITooLabs, "ended_subscription", lambda *_: "s-1")
    monkeypatch.setattr(ITooLabs, "subscription_lives", lambda *_: False)
    operator = mgts()
    assert operator.ends_by_legs
    request = next(TestMgtsConformance().requests())
    assert operator.ended_subscription(request) == "s-1"
    assert not operator.subscription_lives("https://crm.example.ru/hook", "s-1")
