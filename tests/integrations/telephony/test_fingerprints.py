"""Requests of known families are told apart by their shape alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import fingerprints
from crm.integrations.telephony.fingerprints import Guess, recognise, sketch
from tests.integrations.telephony.conformance import FOREIGN_SAMPLES, GARBAGE, NOW

FOREIGN = FOREIGN_SAMPLES
URLENCODED = "application/x-www-form-urlencoded"


def request(
    body: bytes = b"", content_type: str = "", tail: str = "", **query: str
) -> InboundRequest:
    headers = {"Content-Type": content_type}
    return InboundRequest("POST", tail, query, headers, body, "127.0.0.1", NOW)


def form(*, tail: str = "", **fields: str) -> InboundRequest:
    return request(urlencode(fields).encode(), URLENCODED, tail)


def jsonic(value: Any, tail: str = "", **headers: str) -> InboundRequest:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    body = json.dumps(value).encode()
    return InboundRequest("POST", tail, {}, named, body, "127.0.0.1", NOW)


def guess(inbound: InboundRequest) -> Guess:
    return recognise(sketch(inbound))


CERTAIN = [
    (form(cmd="event", crm_token="t", type="INCOMING"), "itoolabs"),
    (form(cmd="history", crm_token="t"), "itoolabs"),
    (request(tail="", cmd="contact", crm_token="t"), "itoolabs"),
    (jsonic({"id": "1", "stage": "alerting"}, "crm/event", X_API_KEY="k"), "gravitel"),
    (jsonic({"id": "1", "provision": 5}, "/history/", x_api_key="k"), "gravitel"),
    (jsonic({"type": "new"}, "call_events", X_Client_ID="1", X_Client_Sign="2"), "rostelecom"),
    (form(EventType="dial-in", CallFlow="in"), "telphin"),
    (request(EventType="answer", CallFlow="out"), "telphin"),
    (jsonic({"webhook": {"action": "call.start"}, "event": {"direction": 0}}), "moizvonki"),
    (form(vpbx_api_key="k", sign="s", json="{}", tail="events/call"), "mango"),
    (form(event="NOTIFY_OUT_START", pbx_call_id="1"), "zadarma"),
    (
        jsonic({"event": "ringing", "call_id": "1", "direction": "in", "client": "7"}),
        "generic",
    ),
]


@pytest.mark.parametrize(("inbound", "family"), CERTAIN)
def test_a_family_is_recognised(inbound: InboundRequest, family: str) -> None:
    found = guess(inbound)
    assert (found.family, found.is_certain) == (family, True)
    assert found.why.startswith(f"Узнали: {found.title}. Признак — ")


@pytest.mark.parametrize(
    ("inbound", "family"),
    [
        (form(cmd="rating", crm_token="t"), "itoolabs"),
        (jsonic({"id": "1", "phone": "7"}, "client", X_API_KEY="k"), "gravitel"),
        (jsonic({"id": "1", "stage": "talking"}, "event"), "gravitel"),
        (jsonic({}, "call_events", X_Client_ID="1"), "rostelecom"),
        (form(vpbx_api_key="k"), "mango"),
    ],
)
def test_some_of_the_signs_make_it_likely(inbound: InboundRequest, family: str) -> None:
    found = guess(inbound)
    assert (found.family, found.is_certain) == (family, False)
    assert "не наверняка" in found.why


@pytest.mark.parametrize(
    "inbound",
    [
        request(),
        form(cmd="event"),
        form(event="call_start", uuid="1"),
        jsonic({"cmd": "event", "crm_token": "t"}),
        jsonic({"event": "created"}, "event"),
        jsonic({"webhook": {"action": "sms.in"}, "event": {}}),
        jsonic({"webhook": "call.start", "event": {}}),
        form(sign="s", json="{}"),
        request(b"<Event><type>call</type></Event>", "application/xml", "event"),
    ],
)
def test_anything_else_is_for_the_general_protocol(inbound: InboundRequest) -> None:
    found = guess(inbound)
    assert (found.family, found.is_certain) == ("generic", False)
    assert "общий протокол" in found.why


def test_a_certain_family_outweighs_a_likely_one() -> None:
    both = jsonic({"webhook": {"action": "call.start"}, "event": {}}, "event", X_API_KEY="k")
    assert guess(both).family == "moizvonki"


def test_many_requests_are_weighed_together() -> None:
    unknown, likely = sketch(request()), sketch(form(vpbx_api_key="k"))
    certain = sketch(form(event="NOTIFY_END"))
    assert fingerprints.overall([]).family == fingerprints.UNKNOWN
    assert fingerprints.overall([unknown] * 5 + [likely]).family == "mango"
    assert fingerprints.overall([likely] * 5 + [certain]).family == "zadarma"


def test_a_sketch_keeps_names_and_no_data() -> None:
    drawn = sketch(
        jsonic(
            {"event": "+79031234567", "client": {"phone": "+79031234567"}, "79031234567": 1},
            "event",
            X_Api_Key="secret-of-the-test",
        )
    )
    assert drawn.fields == {"event", "client", "client.phone"}
    assert (drawn.kind, drawn.words) == ("json", {})
    assert drawn.headers == {"x-api-key"}
    assert "79031234567" not in repr(drawn)
    assert "secret" not in repr(drawn)


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize(
    "content_type", ["", URLENCODED, "application/json", "multipart/form-data"]
)
def test_garbage_never_breaks_it(body: bytes, content_type: str) -> None:
    assert guess(request(body, content_type)).family == "generic"


@given(body=st.binary(max_size=200), content_type=st.text(max_size=20), tail=st.text(max_size=20))
def test_any_bytes_never_break_it(body: bytes, content_type: str, tail: str) -> None:
    assert guess(request(body, content_type, tail)).why


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
@pytest.mark.parametrize(
    ("sample", "tail", "family"),
    [
        ("megafon/event_incoming.form", "", "itoolabs"),
        ("megafon/history_success.form", "", "itoolabs"),
        ("zadarma/notify_start.form", "", "zadarma"),
        ("moizvonki/call_finish_webhook.json", "", "moizvonki"),
        ("gravitel/rest_history_webhook.json", "history", "gravitel"),
    ],
)
def test_samples_of_others_are_recognised(sample: str, tail: str, family: str) -> None:
    is_form = sample.endswith(".form")
    body = (FOREIGN / sample).read_bytes().strip()
    inbound = request(body, URLENCODED if is_form else "application/json", tail)
    assert guess(inbound).family == family
