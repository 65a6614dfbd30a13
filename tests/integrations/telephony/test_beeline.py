"""Beeline: its XSI events, and the contract of an operator."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import beeline_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Direction,
    WebhookRejected,
)
from crm.integrations.telephony.beeline import Beeline
from tests.integrations.fake_http import NoNetwork
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)
from tests.integrations.telephony.test_beeline_api import (
    ANNA,
    API_TOKEN,
    CALL_ID,
    FakeBeeline,
    connected,
    said,
)
from tests.integrations.telephony.test_beeline_history import paged

FOREIGN = FOREIGN_SAMPLES / "beeline"
LINE = "tel:+74950001122"
NETWORK, GROUP = "<callType>Network</callType>", "<callType>Group</callType>"
START, ANSWER, RELEASE = 1767258000000, 1767258011000, 1767258101000


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def beeline(**changed: str) -> Beeline:
    return Beeline(7, {"api_token": API_TOKEN, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(text: str | bytes) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"content-type": "application/xml; charset=UTF-8"},
        body=text.encode() if isinstance(text, str) else text,
        remote_addr="127.0.0.1",
        received_at=NOW,
        token=TOKEN,
    )


def times(*, answered: bool = False, released: bool = False) -> str:
    answer = f"<answerTime>{ANSWER}</answerTime>" if answered else ""
    release = f"<releaseTime>{RELEASE}</releaseTime>" if released else ""
    return f"<startTime>{START}</startTime>{answer}{release}"


def remote(address: str = "tel:+79001112233", call_type: str = NETWORK) -> str:
    return f"<remoteParty><address>{address}</address>{call_type}</remoteParty>"


def redirections(*parties: str, reason: str = "") -> str:
    inner = "".join(f"<redirection><party>{party}</party></redirection>" for party in parties)
    return f"<redirections>{inner}<reason>{reason}</reason></redirections>"


def xml(kind: str, call: str, personality: str = "Terminator", target: str = ANNA) -> str:
    """An event in the shape of the captured one, with the namespaces of life."""
    bare = (
        f"<callId>callhalf-1000001:0</callId><extTrackingId>{CALL_ID}</extTrackingId>"
        f"<personality>{personality}</personality>{call}"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<n:Event xmlns:n="http://schema.broadsoft.com/xsi" xmlns="http://schema.broadsoft.com/xsi"'
        ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="n:SubscriptionEvent">'
        "<eventID>0a1b2c3d-0000-4000-8000-000000000001</eventID>"
        "<sequenceNumber>53</sequenceNumber>"
        "<userId>MPBX_E_000001_EventSubscription@ip.beeline.ru</userId>"
        f"<httpContact><uri>https://crm.example.ru/telephony/beeline/{TOKEN}</uri></httpContact>"
        f'<targetId>{target}</targetId><eventData i:type="n:{kind}"><call>{bare}</call></eventData>'
        "</n:Event>"
    )


def parsed(kind: str, call: str, **changed: str) -> list[CallEvent]:
    return beeline().parse(inbound(xml(kind, call, **changed)))


def only(kind: str, call: str, **changed: str) -> CallEvent:
    (event,) = parsed(kind, call, **changed)
    return event


class TestBeelineConformance(OperatorConformance):
    operator_class = Beeline
    settings_of = {"api_token": API_TOKEN}

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        start = int(scenario.ringing_at.timestamp() * 1000)
        abonent = {
            "userId": beeline_simulation.employee(scenario),
            "extension": scenario.extension,
        }
        row = {
            "startDate": start,
            "direction": "INBOUND",
            "status": "RECIEVED" if scenario.answered else "MISSED",
            "phone_from": "+" + scenario.client_number,
            "duration": 90000 if scenario.answered else 0,
            "abonent": abonent,
        }
        record = {
            "id": "1",
            "externalId": beeline_simulation.call_id(scenario),
            "phone": scenario.client_number[1:],
            "direction": "INBOUND",
            "date": start,
            "duration": 90000,
            "abonent": abonent,
        }
        answers = {
            "GET v2/statistics": paged([row]),
            "GET records": said([record] if scenario.answered else []),
        }
        with connected(FakeBeeline(answers)) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))

    def test_the_recording_is_pulled_by_the_call_and_the_employee(self) -> None:
        scenario = self.scenario()
        key = f"{beeline_simulation.call_id(scenario)}/101@ip.beeline.ru"
        assert {event.recording_ref for event in self.events()} == {None, key}
        assert {event.recording_ref for event in self.events(recorded=False)} == {None}

    def test_a_simulated_employee_may_have_the_key_of_the_operator(self) -> None:
        assert {event.employee_key for event in self.events(extension=ANNA)} == {ANNA}


class TestEvents:
    def test_an_employee_rings(self) -> None:
        party = f"<address>{LINE}</address>{GROUP}"
        event = only("CallReceivedEvent", remote() + redirections(party) + times())
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert (event.employee_key, event.extension) == (ANNA, None)
        assert (event.provider_call_id, event.leg_id) == (CALL_ID, "callhalf-1000001:0")
        assert event.event_id == "0a1b2c3d-0000-4000-8000-000000000001"
        assert (event.sequence, event.final, event.result) == (53, False, None)
        assert (event.occurred_at, event.started_at) == (at(START), at(START))
        assert (event.answered_at, event.occurred_at_is_receipt) == (None, False)

    def test_an_employee_dials(self) -> None:
        event = only("CallOriginatedEvent", remote() + times(), personality="Originator")
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.OUT)
        assert (event.client_number, event.line_number) == ("79001112233", None)

    def test_a_call_made_by_the_crm_is_outgoing(self) -> None:
        event = only("CallReceivedEvent", remote() + times(), personality="Click-to-Dial")
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.OUT)

    def test_an_answer(self) -> None:
        event = only("CallAnsweredEvent", remote() + times(answered=True))
        assert (event.kind, event.answered_at) == (CallKind.ANSWERED, at(ANSWER))
        assert (event.occurred_at, event.recording_ref) == (at(ANSWER), None)

    def test_the_end_of_a_conversation_names_where_its_recording_will_be(self) -> None:
        event = only("CallReleasedEvent", remote() + times(answered=True, released=True))
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            False,
        )
        assert (event.talk, event.duration_total) == (90, 101)
        assert (event.ended_at, event.occurred_at) == (at(RELEASE), at(RELEASE))
        assert event.recording_ref == f"{CALL_ID}/{ANNA}"

    def test_a_recording_that_failed_is_not_asked_for(self) -> None:
        failed = "<recordingState>Failed</recordingState>"
        event = only("CallReleasedEvent", remote() + failed + times(answered=True, released=True))
        assert event.recording_ref is None

    @pytest.mark.parametrize(
        ("cause", "result"),
        [
            ("", CallResult.NO_ANSWER),
            ("Busy", CallResult.BUSY),
            ("Temporarily Unavailable", CallResult.NO_ANSWER),
            ("Forbidden", CallResult.FAILED),
        ],
    )
    def test_an_unanswered_call_to_one_employee_is_missed(
        self, cause: str, result: CallResult
    ) -> None:
        why = f"<releaseCause><internalReleaseCause>{cause}</internalReleaseCause></releaseCause>"
        event = only("CallReleasedEvent", remote() + why + times(released=True))
        assert (event.kind, event.result) == (CallKind.MISSED, result)
        assert (event.talk, event.duration_total, event.recording_ref) == (0, 101, None)

    @pytest.mark.parametrize(
        "group",
        [
            redirections(f"<address>{LINE}</address>{GROUP}"),
            redirections(f"<address>{LINE}</address>{NETWORK}", reason="hunt-group"),
            redirections(f"<address>{LINE}</address>{NETWORK}", reason="call-center"),
            "<acdCallInfo><huntGroupUserId>g@ip.beeline.ru</huntGroupUserId></acdCallInfo>",
            "<huntGroupUserId>g@ip.beeline.ru</huntGroupUserId>",
        ],
    )
    def test_one_leg_of_a_group_decides_nothing(self, group: str) -> None:
        event = only("CallReleasedEvent", remote() + group + times(released=True))
        assert (event.kind, event.result, event.ended_at) == (CallKind.LEG_ENDED, None, None)

    @pytest.mark.parametrize(
        ("party", "result"),
        [("localRelease", CallResult.CANCELLED), ("remoteRelease", CallResult.NO_ANSWER)],
    )
    def test_an_unanswered_outgoing_call_is_over(self, party: str, result: CallResult) -> None:
        call = remote() + f"<releasingParty>{party}</releasingParty>" + times(released=True)
        event = only("CallReleasedEvent", call, personality="Originator")
        assert (event.kind, event.direction, event.result) == (
            CallKind.ENDED,
            Direction.OUT,
            result,
        )

    @pytest.mark.parametrize("personality", ["Terminator", "Originator"])
    def test_a_release_without_any_times_does_not_tell_who_answered(self, personality: str) -> None:
        event = only("CallReleasedEvent", remote(), personality=personality)
        assert (event.kind, event.result) == (CallKind.LEG_ENDED, None)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)

    def test_the_line_is_the_last_outside_address_of_the_redirections(self) -> None:
        parties = [
            "<address>tel:+74957654321</address>",
            f"<address>{LINE}</address>",
            "<address>tel:101</address>",
        ]
        event = only("CallReceivedEvent", redirections(*parties) + remote() + times())
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")

    @pytest.mark.parametrize("address", ["", "sip:anonymous@ip.beeline.ru", "anonymous"])
    def test_a_hidden_client_is_no_number(self, address: str) -> None:
        assert only("CallReceivedEvent", remote(address) + times()).client_number is None

    @pytest.mark.parametrize("call", [remote(call_type=GROUP), remote("tel:102", "")])
    def test_a_call_between_employees_is_left_out(self, call: str) -> None:
        assert parsed("CallReceivedEvent", call + times()) == []

    def test_a_target_may_begin_with_the_internal_number(self) -> None:
        by_phone = only("CallReceivedEvent", remote(), target="9001112233@ip.beeline.ru")
        assert (by_phone.employee_key, by_phone.extension) == ("9001112233@ip.beeline.ru", None)
        short = only("CallReceivedEvent", remote(), target="204@ip.beeline.ru")
        assert (short.employee_key, short.extension) == ("204@ip.beeline.ru", "204")

    def test_times_may_be_iso_with_an_offset(self) -> None:
        call = remote() + "<startTime>2026-01-01T12:00:00.500+03:00</startTime>"
        assert only("CallReceivedEvent", call).started_at == at(START + 500)

    @pytest.mark.parametrize(
        "text", ["", "0", "2026-01-01T12:00:00", "soon", "9" * 20, "9" * 5000, "-5"]
    )
    def test_an_impossible_time_is_no_time(self, text: str) -> None:
        event = only("CallReceivedEvent", remote() + f"<startTime>{text}</startTime>")
        assert (event.started_at, event.occurred_at_is_receipt) == (None, True)

    def test_elements_may_stand_without_the_call_around_them(self) -> None:
        text = xml("CallAnsweredEvent", remote() + times(answered=True))
        bare = text.replace("<call>", "").replace("</call>", "")
        (event,), (same,) = beeline().parse(inbound(text)), beeline().parse(inbound(bare))
        assert replace(event, raw="") == replace(same, raw="")

    @pytest.mark.parametrize(
        "kind", ["CallForwardedEvent", "CallRedirectedEvent", "CallTransferredEvent"]
    )
    def test_a_call_that_went_on_to_another_only_closes_the_leg(self, kind: str) -> None:
        event = only(kind, remote() + times(answered=True))
        assert (event.kind, event.transferred, event.result) == (CallKind.LEG_ENDED, True, None)

    @pytest.mark.parametrize(
        "kind",
        [
            "CallHeldEvent",
            "CallRetrievedEvent",
            "CallSubscriptionEvent",
            "CallUpdatedEvent",
            "HookStatusEvent",
            "SubscriptionTerminatedEvent",
        ],
    )
    def test_noise_gives_nothing(self, kind: str) -> None:
        assert parsed(kind, "") == []

    def test_the_end_of_a_subscription_may_be_told_by_the_event_itself(self) -> None:
        text = (
            '<Event xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
            ' i:type="xsi:SubscriptionTerminatedEvent"><eventID>1</eventID></Event>'
        )
        assert beeline().parse(inbound(text)) == []
        assert beeline().ended_subscription(inbound(text)) == ""

    def test_an_ended_subscription_is_named(self) -> None:
        text = xml("SubscriptionTerminatedEvent", "").replace(
            "<eventID>", "<subscriptionId>s-1</subscriptionId><eventID>"
        )
        assert beeline().ended_subscription(inbound(text)) == "s-1"
        ringing = inbound(xml("CallReceivedEvent", remote() + times()))
        assert beeline().ended_subscription(ringing) is None

    @pytest.mark.parametrize("text", [xml("CallTeleportedEvent", ""), "<a/>", "<Event/>"])
    def test_a_new_kind_is_unknown(self, text: str) -> None:
        (event,) = beeline().parse(inbound(text))
        assert event.kind is CallKind.UNKNOWN

    def test_an_event_without_an_id_of_its_own_is_known_by_its_content(self) -> None:
        text = xml("CallReceivedEvent", remote() + times())
        request = inbound(text.replace("0a1b2c3d-0000-4000-8000-000000000001", ""))
        (event,) = beeline().parse(request)
        assert event.event_id == beeline().delivery_key(request)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "не XML",
            "<Event>",
            xml("CallReceivedEvent", "<x:y/>"),
            xml("CallReceivedEvent", "&unknown;"),
            xml("CallReceivedEvent", "").replace(CALL_ID, ""),
            xml("CallReceivedEvent", "").replace(CALL_ID, "9" * 129),
            xml("CallReceivedEvent", "<b>" * 300 + "</b>" * 300),
        ],
    )
    def test_an_impossible_event_is_malformed(self, text: str) -> None:
        with pytest.raises(MalformedRequest):
            beeline().parse(inbound(text))

    @pytest.mark.parametrize(
        "declared",
        [
            '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Event>&b;</Event>',
            '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><Event/>',
            '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><Event>&a;</Event>',
        ],
    )
    def test_a_document_type_is_refused(self, declared: str) -> None:
        with pytest.raises(MalformedRequest, match="DTD"):
            beeline().parse(inbound(declared))
        with pytest.raises(MalformedRequest):
            beeline().parse(inbound(declared.encode("utf-16")))

    def test_an_encoding_named_inside_does_not_count_again(self) -> None:
        text = xml("CallReceivedEvent", remote() + "<name>Анна</name>" + times())
        (event,) = beeline().parse(inbound(text.replace("UTF-8", "UTF-7")))
        assert event.client_number == "79001112233"
        (event,) = beeline().parse(inbound("\ufeff\r\n" + text))
        assert event.client_number == "79001112233"

    def test_the_secret_of_the_address_is_the_only_proof(self) -> None:
        request = inbound(xml("CallReceivedEvent", remote() + times()))
        beeline().verify(request)
        with pytest.raises(WebhookRejected):
            beeline().verify(replace(request, token="wrong"))
        with pytest.raises(WebhookRejected, match="нет секрета"):
            Beeline(7, {"api_token": API_TOKEN}, NoNetwork()).verify(request)

    def test_what_is_stored_for_people_hides_the_secret_of_the_address(self) -> None:
        event = only("CallReceivedEvent", remote() + times())
        assert "telephony/beeline/•••" in event.raw
        assert TOKEN not in event.raw

    def test_the_answer_is_empty(self) -> None:
        assert beeline().reply(inbound("")) == Reply()

    def test_the_first_try_of_a_recording_is_a_minute_after_the_release(self) -> None:
        assert Beeline.recording_delay == timedelta(seconds=60)


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def test_they_become_what_is_expected(self) -> None:
        for case in json.loads((FOREIGN / "expected.json").read_text("utf-8"))["cases"]:
            (event,) = beeline().parse(inbound((FOREIGN / case["file"]).read_text("utf-8")))
            for name in case.keys() - {"file"}:
                assert plain(getattr(event, name)) == case[name], (case["file"], name)

    @pytest.mark.parametrize("name", ["statistics_v1_missed.json", "statistics_v2_missed.json"])
    def test_a_row_of_the_statistics_is_a_missed_call(self, name: str) -> None:
        row = json.loads((FOREIGN / name).read_text("utf-8"))
        answers = {"GET v2/statistics": paged([row]), "GET records": said([])}
        with connected(FakeBeeline(answers)) as operator:
            (event,) = operator.history(NOW, NOW + timedelta(hours=1))
        assert (event.kind, event.direction) == (CallKind.MISSED, Direction.IN)
        assert event.started_at == at(1638432499281)
        assert event.client_number

    def test_an_employee_and_a_subscription_are_read(self) -> None:
        abonent, subscription = (
            json.loads((FOREIGN / name).read_text("utf-8"))
            for name in ("abonent.json", "subscription.json")
        )
        answers = {
            "GET abonents": said([abonent]),
            "GET subscription": said(subscription),
            "PUT subscription": said(subscription),
            "DELETE subscription": said({}),
        }
        with connected(FakeBeeline(answers)) as operator:
            (employee,) = operator.extensions()
            made = operator.subscribe("https://crm.example.ru/x", "jsjkgksj12323")
        assert (employee.number, employee.employee_key) == ("2310", "9379992@beeline.ru")
        assert made.id == "jsjkgksj12323"


def plain(value: Any) -> Any:
    return getattr(value, "value", value)
