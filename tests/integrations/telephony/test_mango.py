"""Mango Office against its document, our payloads and a server that behaves like it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Direction,
    WebhookRejected,
)
from crm.integrations.telephony.mango import Mango, signature
from tests.call_fold import fold
from tests.integrations.fake_http import NoNetwork
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)
from tests.integrations.telephony.test_mango_api import FakeMango, connected, said

SAMPLES = Path(__file__).parent / "samples" / "mango"
FOREIGN = FOREIGN_SAMPLES / "mango"
KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
SALT = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def mango(**changed: str) -> Mango:
    values = {"api_key": KEY, "api_salt": SALT, **changed}
    return Mango(7, values, NoNetwork(), webhook_token=TOKEN)


def inbound(tail: str, text: str, **fields: str) -> InboundRequest:
    form = {"vpbx_api_key": KEY, "sign": signature(KEY, text, SALT), "json": text, **fields}
    return InboundRequest(
        method="POST",
        path_tail=tail,
        query={},
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
        remote_addr="81.88.80.132",
        received_at=NOW,
        token=TOKEN,
    )


def parsed(tail: str, sample: str) -> list[CallEvent]:
    return mango().parse(inbound(tail, (SAMPLES / sample).read_text("utf-8").strip()))


def only(tail: str, sample: str) -> CallEvent:
    (event,) = parsed(tail, sample)
    return event


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(1795424400 + seconds, UTC)


class TestMangoConformance(OperatorConformance):
    operator_class = Mango
    settings_of = {"api_key": KEY, "api_salt": SALT}
    answered_kinds = frozenset(
        {
            CallKind.RINGING,
            CallKind.ANSWERED,
            CallKind.LEG_ENDED,
            CallKind.ENDED,
            CallKind.RECORDING_READY,
        }
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        row = {
            "entry_id": f"sim:{scenario.call_key}",
            "context_type": 1 if scenario.direction is Direction.IN else 2,
            "context_status": int(scenario.answered),
            "caller_number": scenario.client_number,
            "called_number": scenario.line_number,
            "context_start_time": int(scenario.started_at.timestamp()),
            "duration": int((scenario.ended_at - scenario.started_at).total_seconds()),
            "talk_duration": int((scenario.ended_at - scenario.answered_at).total_seconds()),
            "context_calls": [],
        }
        fake = FakeMango(
            stats_calls_request=lambda _: said({"result": 1000, "key": "k"}),
            stats_calls_result=lambda _: said(
                {"result": 1000, "status": "complete", "data": [{"list": [row]}]}
            ),
        )
        with connected(fake) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


VECTORS = {
    '{"entry_id":"MzQ1Njc4OTAxMjo0MDE=","call_id":"MToxMDAwMDAxOjQwMTo5ODc2NTQzMjE6MQ==",'
    '"timestamp":1767258000,"seq":1,"call_state":"Appeared","location":"ivr",'
    '"from":{"number":"79001112233"},'
    '"to":{"number":"74950001122","line_number":"74950001122"}}': (
        "5c6adb8e2917612fc4aa06192050fd49b9fcdb4c8f12a19449778f99dbd8260a"
    ),
    '{"command_id":"crm-0001","from":{"extension":"101"},"to_number":"79001112233",'
    '"line_number":"74950001122"}': (
        "bc225437b3acd9105285260c0b5d6a15e1f5e2a85efaff6ed2c71a5f673b0606"
    ),
    "1767261600MToxMDAwMDAxOjEyMzQ1Njc4OTA6MA==": (
        "da0c00a751f505729fa5f4a18140f50b66d728354406010a1f6c20fa7f95b4e9"
    ),
}


class TestSignature:
    @pytest.mark.parametrize(("text", "expected"), VECTORS.items())
    def test_it_equals_the_vectors(self, text: str, expected: str) -> None:
        assert signature(KEY, text, SALT) == expected

    def test_the_exact_text_is_signed_not_its_meaning(self) -> None:
        request = inbound("events/call", '{ "b" : 1,   "a":2 }')
        mango().verify(request)
        respelled = inbound("events/call", '{"a":2,"b":1}', sign=request.form()["sign"])
        with pytest.raises(WebhookRejected, match="Подпись"):
            mango().verify(respelled)

    @pytest.mark.parametrize(
        "fields",
        [{"sign": ""}, {"sign": "0" * 64}, {"vpbx_api_key": "x"}, {"vpbx_api_key": "ключ"}],
    )
    def test_a_forged_request_is_rejected(self, fields: dict[str, str]) -> None:
        with pytest.raises(WebhookRejected):
            mango().verify(inbound("events/call", "{}", **fields))

    @pytest.mark.parametrize("changed", [{"api_salt": "other"}, {"api_key": "other"}])
    def test_another_pair_of_keys_rejects_though_the_address_is_right(
        self, changed: dict[str, str]
    ) -> None:
        with pytest.raises(WebhookRejected):
            mango(**changed).verify(inbound("events/call", "{}"))

    def test_an_empty_check_of_the_cabinet_passes_by_its_secret_address_only(self) -> None:
        ping = replace(inbound("ping", "{}"), body=b"")
        mango().verify(ping)
        assert mango().parse(ping) == []
        with pytest.raises(WebhookRejected):
            mango().verify(replace(ping, token="wrong"))
        with pytest.raises(WebhookRejected):
            Mango(7, {"api_key": KEY, "api_salt": SALT}, NoNetwork()).verify(ping)
        with pytest.raises(WebhookRejected):
            mango().verify(replace(ping, path_tail="events/call"))


class TestEvents:
    def test_a_call_in_the_menu_rings_without_an_extension(self) -> None:
        event = only("events/call", "call_menu.json")
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79031234567", "74957654321")
        assert (event.extension, event.final) == (None, False)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(0), False)

    def test_an_employee_rings_and_a_device_with_digits_is_not_a_number(self) -> None:
        event = only("events/call", "call_rings_employee.json")
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.extension, event.employee_key) == ("204", "204")
        assert event.client_number == "79031234567"
        assert not event.transferred

    def test_an_answer_and_the_end_of_a_leg(self) -> None:
        answered = only("events/call", "call_answered.json")
        assert (answered.kind, answered.answered_at) == (CallKind.ANSWERED, at(11))
        over = only("events/call", "call_leg_over.json")
        assert (over.kind, over.extension, over.result) == (CallKind.LEG_ENDED, "204", None)
        assert (over.leg_id, over.sequence) == (answered.leg_id, 3)

    def test_an_outgoing_call(self) -> None:
        event = only("events/call", "call_out.json")
        assert (event.direction, event.extension) == (Direction.OUT, "204")
        assert (event.client_number, event.line_number) == ("79161112233", "74957654321")

    def test_an_internal_call_has_no_client(self) -> None:
        event = only("events/call", "call_internal.json")
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    def test_a_call_made_by_a_command_leaves_the_direction_to_the_summary(self) -> None:
        event = only("events/call", "call_by_command.json")
        assert (event.direction, event.crm_request_id) == (None, "crm-0042")
        assert (event.client_number, event.extension) == ("79161112233", "204")

    @pytest.mark.parametrize(
        ("to", "kind"),
        [
            ({"extension": "204"}, CallKind.RINGING),
            ({"number": "79161112233"}, CallKind.ANSWERED),
        ],
        ids=["the employee", "the client"],
    )
    def test_of_a_call_made_by_a_command_only_the_client_answers(
        self, to: dict[str, str], kind: CallKind
    ) -> None:
        value = json.loads((SAMPLES / "call_by_command.json").read_text("utf-8"))
        text = json.dumps({**value, "call_state": "Connected", "seq": 2, "to": to})
        (event,) = mango().parse(inbound("events/call", text))
        assert (event.kind, event.crm_request_id) == (kind, "crm-0042")

    def test_a_call_by_a_command_that_the_client_did_not_take_is_not_answered(self) -> None:
        value = json.loads((SAMPLES / "call_by_command.json").read_text("utf-8"))
        busy = json.loads((SAMPLES / "summary_out_busy.json").read_text("utf-8"))
        told = [
            ("events/call", value),
            ("events/call", {**value, "call_state": "Connected", "seq": 2}),
            ("events/summary", {**busy, "entry_id": value["entry_id"]}),
        ]
        events = [
            event
            for tail, notice in told
            for event in mango().parse(inbound(tail, json.dumps(notice)))
        ]
        whole = fold(events)
        assert (whole["state"], whole["result"]) == ("ended", "busy")

    def test_a_hidden_number_is_no_number(self) -> None:
        assert only("events/call", "call_hidden_number.json").client_number is None

    @pytest.mark.parametrize("state", ["OnHold", "Connected"])
    def test_a_hold_and_a_menu_that_answers_change_nothing(self, state: str) -> None:
        value = json.loads((SAMPLES / "call_menu.json").read_text("utf-8"))
        text = json.dumps({**value, "call_state": state})
        assert mango().parse(inbound("events/call", text)) == []

    def test_a_new_state_is_unknown(self) -> None:
        value = json.loads((SAMPLES / "call_menu.json").read_text("utf-8"))
        text = json.dumps({**value, "call_state": "Teleported"})
        (event,) = mango().parse(inbound("events/call", text))
        assert event.kind is CallKind.UNKNOWN

    def test_a_summary_of_an_answered_call(self) -> None:
        event = only("events/summary", "summary_answered.json")
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.ANSWERED)
        assert (event.duration_total, event.talk, event.final) == (101, 90, True)
        assert (event.started_at, event.answered_at, event.ended_at) == (at(0), at(11), at(101))
        assert (event.client_number, event.extension) == ("79031234567", "204")

    def test_a_summary_of_a_missed_call(self) -> None:
        event = only("events/summary", "summary_missed.json")
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.talk, event.answered_at) == (0, None)

    def test_an_unsuccessful_outgoing_call_is_ended_not_missed(self) -> None:
        event = only("events/summary", "summary_out_busy.json")
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.BUSY)
        assert (event.direction, event.client_number) == (Direction.OUT, "79161112233")

    def test_a_summary_that_contradicts_itself_tells_no_direction(self) -> None:
        event = only("events/summary", "summary_contradicts.json")
        assert (event.kind, event.direction) == (CallKind.ENDED, None)
        assert (event.client_number, event.extension) == ("79161112233", "204")

    def test_a_recording_is_ready_when_it_is_in_the_cloud(self) -> None:
        event = only("events/record/added", "record_added.json")
        assert event.kind is CallKind.RECORDING_READY
        assert event.recording_ref == "MToyMDAwMDAxOjcwMTIzNDU2Nzg6MA=="
        assert event.event_id == "record:MToyMDAwMDAxOjcwMTIzNDU2Nzg6MA==:0"

    def test_a_completed_recording_is_asked_for_though_its_arrival_is_not_told(self) -> None:
        event = only("events/recording", "recording_completed.json")
        assert (event.kind, event.provider_call_id) == (
            CallKind.RECORDING_READY,
            "NzAxMjM0NTY3ODo0MDE=",
        )
        assert event.recording_ref == "MToyMDAwMDAxOjcwMTIzNDU2Nzg6MA=="
        assert event.event_id != only("events/record/added", "record_added.json").event_id

    @pytest.mark.parametrize(
        "changed",
        [
            {"recording_state": "Started"},
            {"recording_state": "Continued"},
            {"completion_code": 4002},
            {"completion_code": 2201},
            {"recipient": "Mail"},
        ],
    )
    def test_a_recording_that_will_not_be_in_the_cloud_is_not_asked_for(
        self, changed: dict[str, Any]
    ) -> None:
        value = json.loads((SAMPLES / "recording_completed.json").read_text("utf-8"))
        text = json.dumps({**value, **changed})
        assert mango().parse(inbound("events/recording", text)) == []

    def test_a_refused_click_to_call_ends_by_our_id(self) -> None:
        event = only("result/callback", "callback_refused.json")
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.BUSY)
        assert (event.crm_request_id, event.provider_call_id) == ("crm-0042", "")
        assert event.occurred_at_is_receipt
        assert parsed("result/callback", "callback_accepted.json") == []

    def test_the_tail_of_the_path_decides_whatever_stands_before(self) -> None:
        text = (SAMPLES / "callback_refused.json").read_text("utf-8")
        for tail in ("result/callback", "/vpbx/result/callback/", "vpbx/result/callback"):
            assert len(mango().parse(inbound(tail, text))) == 1
        (event,) = mango().parse(inbound("events/of-next-year", text))
        assert event.kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "NaN",
            '{"entry_id":"1","call_state":"Appeared"}',
            '{"entry_id":{},"call_id":"1","call_state":"Appeared"}',
            '{"entry_id":"' + "9" * 200 + '","call_id":"1","call_state":"Appeared"}',
            '{"entry_id":"1","call_id":"2","call_state":"Appeared","timestamp":99999999999999}',
            '{"entry_id":"\\u0000","call_id":"2","call_state":"Appeared"}',
            '{"entry_id":"\\ud800","call_id":"2","call_state":"Appeared"}',
        ],
    )
    def test_an_impossible_event_is_malformed(self, text: str) -> None:
        with pytest.raises(MalformedRequest):
            mango().parse(inbound("events/call", text))

    def test_what_is_stored_for_people_is_readable_and_masked(self) -> None:
        event = only("events/call", "call_menu.json")
        assert '"number":"79031234567"' in event.raw
        assert "sign=•••" in event.raw
        assert KEY not in event.raw


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def test_they_become_what_is_expected(self) -> None:
        for case in json.loads((FOREIGN / "expected.json").read_text("utf-8"))["cases"]:
            text = (FOREIGN / case["file"]).read_text("utf-8").strip()
            (event,) = mango().parse(inbound(case["path"], text))
            for name in case.keys() - {"file", "path"}:
                assert plain(getattr(event, name)) == case[name], (case["file"], name)

    def test_a_started_recording_is_noise(self) -> None:
        text = (FOREIGN / "events_recording_started.json").read_text("utf-8").strip()
        request = inbound("events/recording", text)
        mango().verify(request)
        assert mango().parse(request) == []


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return getattr(value, "value", value)
