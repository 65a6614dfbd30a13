"""What the base does for an operator that declares as little as possible."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crm.integrations.inbound import InboundRequest, Reply
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallScenario,
    CredentialField,
    NotSupported,
    OperatorError,
    SimulatedRequest,
    TelephonyOperator,
    WebhookRejected,
    same_secret,
)
from crm.integrations.telephony.masking import redact
from tests.integrations.fake_http import NoNetwork

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Unsigned(TelephonyOperator):
    """Has no signature: only the secret of the address proves the sender."""

    slug = "unsigned"
    title = "Без подписи"

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        return [self.unknown_event(request)]

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        return [SimulatedRequest(path_tail=scenario.call_key, body=b"")]


class Brand(Unsigned):
    """A brand of a family with a key of its own; it forgets `super()`, as leaf classes do."""

    slug = "brand"
    credentials = (
        CredentialField("key", "Ключ"),
        CredentialField("host", "Адрес", secret=False, default="brand.example"),
    )

    def check_request(self, request: InboundRequest) -> None:
        if not same_secret(request.query.get("key", ""), self.credential("key")):
            raise WebhookRejected("Чужой ключ")


def request(token: str = "", body: bytes = b"", **query: str) -> InboundRequest:
    return InboundRequest("POST", "call", query, {}, body, "127.0.0.1", NOW, token)


def test_the_secret_of_the_address_is_always_required() -> None:
    with pytest.raises(WebhookRejected, match="нет секрета"):
        Unsigned(1, {}, NoNetwork()).verify(request())
    guarded = Unsigned(1, {}, NoNetwork(), webhook_token="address")
    guarded.verify(request("address"))
    with pytest.raises(WebhookRejected):
        guarded.verify(request("other"))


def test_every_class_of_the_chain_checks_though_a_leaf_forgets_super() -> None:
    brand = Brand(1, {"key": "k"}, NoNetwork(), webhook_token="address")
    brand.verify(request("address", key="k"))
    for wrong in (request("address", key="x"), request("other", key="k"), request("", key="k")):
        with pytest.raises(WebhookRejected):
            brand.verify(wrong)


def test_an_empty_secret_equals_nothing() -> None:
    assert not same_secret("", "")
    assert same_secret("ключ", "ключ")


def test_an_unknown_notice_keeps_its_time_of_receipt() -> None:
    (event,) = Unsigned(1, {}, NoNetwork()).parse(request(body="тело".encode()))
    assert (event.kind, event.occurred_at, event.raw) == (CallKind.UNKNOWN, NOW, "тело")
    assert event.occurred_at_is_receipt


def test_the_key_of_a_delivery_depends_on_path_query_and_body() -> None:
    operator = Unsigned(1, {}, NoNetwork())
    keys = {operator.delivery_key(item) for item in (request(), request(a="1"), request(body=b"1"))}
    assert len(keys) == 3
    assert operator.delivery_key(request(a="1", b="2")) == operator.delivery_key(
        request(b="2", a="1")
    )


def test_defaults_fill_empty_fields_and_a_check_without_an_api_says_so() -> None:
    brand = Brand(1, {"key": "k", "host": ""}, NoNetwork())
    assert brand.credential("host") == "brand.example"
    assert brand.secrets() == ["k"]
    assert brand.check().ok
    assert "входящим звонком" in brand.check().message
    assert brand.reply(request()) == Reply()
    with pytest.raises(NotSupported) as caught:
        brand.lines()
    assert caught.value.permanent


def test_an_error_shows_a_short_answer() -> None:
    error = OperatorError("сбой", permanent=False, provider="Оператор", status=502, body="x" * 999)
    assert str(error).startswith("Оператор: сбой (HTTP 502). Ответ: xxx")
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "a=1&key=se cret/1",
        "key=se+cret%2F1",
        "key=se%20cret%2F1",
        '{"x":"se cret/1"}',
        '{"access_token":"foreign"}',
        "?signature=foreign&a=1",
    ],
)
def test_secrets_are_removed_in_every_spelling(text: str) -> None:
    clean = redact(text, ["se cret/1"])
    assert "cret" not in clean
    assert "foreign" not in clean


def test_the_registry_knows_only_its_own_package() -> None:
    slugs = [operator.slug for operator in registry.all_operators()]
    assert "mango" in slugs
    assert "unsigned" not in slugs
    with pytest.raises(registry.UnknownOperator, match="no-such"):
        registry.get("no-such")
