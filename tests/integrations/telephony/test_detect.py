"""The listening connection: shapes are kept, nothing of the data, no call."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import fingerprints, registry
from crm.integrations.telephony.base import CallKind, WebhookRejected
from crm.integrations.telephony.mgts import Mgts
from tests.integrations.fake_http import NoNetwork

TOKEN = "webhook-token-of-the-test-0123456789"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def inbound(fields: dict[str, str], token: str = TOKEN) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"content-type": "application/x-www-form-urlencoded", "X-API-KEY": "secret"},
        body=urlencode(fields).encode(),
        remote_addr="127.0.0.1",
        received_at=NOW,
        token=token,
    )


def listening() -> Mgts:
    return Mgts(7, {"protocol": "detect"}, NoNetwork(), webhook_token=TOKEN)


def test_it_is_a_protocol_of_brands_and_no_operator_to_choose() -> None:
    assert registry.get("detect") not in registry.all_operators()
    assert "detect" in dict(listening().credentials[0].choices)


def test_a_request_of_the_family_is_recognised_by_what_was_kept() -> None:
    request = inbound(
        {"cmd": "event", "type": "INCOMING", "phone": "79031234567", "crm_token": "x"}
    )
    operator = listening()
    operator.verify(request)
    (event,) = operator.parse(request)
    assert (event.kind, event.operator) == (CallKind.UNKNOWN, "mgts")
    kept = operator.notes(request)
    assert "79031234567" not in repr(kept)
    assert "secret" not in repr(kept)
    guess = fingerprints.recognise(fingerprints.from_json(kept["sketch"]))
    assert guess.family == "itoolabs"


def test_only_the_secret_address_is_listened_to() -> None:
    with pytest.raises(WebhookRejected):
        listening().verify(inbound({"a": "1"}, token="wrong"))


def test_a_sketch_survives_its_storing() -> None:
    sketched = fingerprints.sketch(inbound({"cmd": "history", "a": "1"}))
    assert fingerprints.from_json(fingerprints.as_json(sketched)) == sketched
