"""What every telephony operator must do. Inherit `OperatorConformance` in the operator's test."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.integrations.errors import IntegrationError
from crm.integrations.inbound import MAX_BODY_BYTES, InboundRequest, MalformedRequest
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallScenario,
    Capability,
    ClickToCall,
    Direction,
    MissingCredentials,
    NotSupported,
    OperatorError,
    RecordingRef,
    TelephonyOperator,
    WebhookRejected,
)
from tests.call_fold import fold
from tests.integrations.fake_http import NoNetwork

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TOKEN = "webhook-token-of-the-test-0123456789"
# Real data made by others, read in place; tests that need it skip without it.
FOREIGN_SAMPLES = (
    Path(os.environ.get("KVARTAL_SAMPLES") or Path(__file__).parents[4] / "shared" / "samples")
    / "telephony"
)
CALLS: tuple[dict[str, Any], ...] = ({}, {"answered": False}, {"direction": Direction.OUT})
GARBAGE = (
    b"",
    b"\x00",
    b"\xff\xfe\xfa",
    b"{",
    b"[]",
    b"null",
    b"json=%FF%FE",
    b"json={}",
    b"json=[1,2]",
    b'{"a":' * 20_000,
    b"json=" + b"[" * 50_000,
    b"<?xml version='1.0'?><a/>",
    "текст".encode("cp1251"),
    b"a=1&" * 1000,
    b"x" * (MAX_BODY_BYTES + 1),
)


class Told:
    """An answer of a server as an operator sees it."""

    def __init__(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.status, self.content = status, body
        self.headers = {"Content-Type": content_type, **headers}

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)

    def iter_bytes(self) -> Iterator[bytes]:
        yield self.content

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        return


class Answering:
    """A client whose server always says the same."""

    def __init__(self, answer: Told | IntegrationError) -> None:
        self.answer, self.asked = answer, 0

    def request(self, method: str, url: str, **asked: Any) -> Told:
        assert asked.get("allow_hosts"), "every request is limited to hosts"
        self.asked += 1
        if isinstance(self.answer, IntegrationError):
            raise self.answer
        return self.answer


_PAGE = b"<html><body>Welcome</body></html>"
UNUSABLE: dict[str, Told | IntegrationError] = {
    "slow": IntegrationError("сервер не успел ответить", permanent=False),
    "dead": IntegrationError("соединиться не удалось", permanent=False),
    "denied": Told(401, b"{}", "application/json"),
    "forbidden": Told(403, b"", "text/plain"),
    "busy": Told(429, b"", "text/plain", **{"Retry-After": "3"}),
    "broken": Told(502, _PAGE, "text/html"),
    "page": Told(200, _PAGE, "text/html"),
}


class OperatorConformance:
    """Set `operator_class` and `settings_of`: they make live and broken connections."""

    operator_class: ClassVar[type[TelephonyOperator]]
    settings_of: ClassVar[Mapping[str, str]]
    # Kinds a whole answered inbound call must show.
    answered_kinds: ClassVar[frozenset[CallKind]] = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED}
    )

    # Where the contract takes any success of HTTP for «accepted».
    content_with_any_2xx: ClassVar[frozenset[Capability]] = frozenset()

    def operator(self, token: str = TOKEN, **changed: str) -> TelephonyOperator:
        values = {**self.settings_of, **changed}
        return self.operator_class(7, values, NoNetwork(), webhook_token=token)

    def scenario(self, **changed: object) -> CallScenario:
        base = CallScenario(
            call_key="conformance-1",
            client_number="79031234567",
            line_number="74950001122",
            extension="101",
            started_at=NOW,
        )
        return replace(base, **changed)  # type: ignore[arg-type]

    def requests(self, **changed: object) -> Iterator[InboundRequest]:
        for simulated in self.operator().simulate(self.scenario(**changed)):
            yield simulated.received(NOW, TOKEN)

    def events(self, **changed: object) -> list[CallEvent]:
        operator = self.operator()
        return [event for request in self.requests(**changed) for event in operator.parse(request)]

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        """What `history` of an account on a local fake server tells of the scenario's call."""
        raise AssertionError(f"say what the history of {self.operator_class.slug} tells of a call")

    def test_the_history_tells_of_the_same_call_finally(self) -> None:
        if Capability.HISTORY not in self.operator().capabilities:
            return
        for answered in (True, False):
            live = {event.provider_call_id for event in self.events(answered=answered)}
            told = self.history_of(self.scenario(answered=answered))
            assert told
            over = (CallKind.ENDED, CallKind.MISSED)
            assert all(event.final for event in told if event.kind in over)
            kind = CallKind.ENDED if answered else CallKind.MISSED
            assert kind in {event.kind for event in told}
            assert {event.client_number for event in told} - {None} == {"79031234567"}
            for event in told:
                ids = {event.provider_call_id, *event.alias_call_ids}
                assert event.id_is_made_up or ids & live

    def test_it_is_found_by_the_registry_and_describes_itself(self) -> None:
        assert registry.get(self.operator_class.slug) is self.operator_class
        assert self.operator_class in registry.all_operators()
        assert self.operator_class.title
        assert any("{webhook_url}" in step for step in self.operator_class.setup_steps)

    def test_a_simulated_answered_call_verifies_and_parses_to_a_whole_call(self) -> None:
        operator = self.operator()
        for request in self.requests():
            operator.verify(request)
        events = self.events()
        assert self.answered_kinds <= {event.kind for event in events}
        assert CallKind.UNKNOWN not in {event.kind for event in events}
        assert len({event.provider_call_id for event in events}) == 1
        assert {event.client_number for event in events} - {None} == {"79031234567"}
        assert {event.line_number for event in events} - {None} == {"74950001122"}
        assert "101" in {event.extension for event in events}
        assert {event.direction for event in events} - {None} == {Direction.IN}

    def test_a_simulated_missed_call_is_missed(self) -> None:
        kinds = {event.kind for event in self.events(answered=False)}
        assert CallKind.MISSED in kinds
        assert not kinds & {CallKind.ANSWERED, CallKind.ENDED, CallKind.UNKNOWN}

    def test_a_simulated_outgoing_call_is_outgoing(self) -> None:
        events = self.events(direction=Direction.OUT)
        assert {event.direction for event in events} - {None} == {Direction.OUT}
        assert {event.client_number for event in events} - {None} == {"79031234567"}

    @pytest.mark.parametrize("changed", CALLS, ids=["answered", "missed", "outgoing"])
    def test_every_order_of_its_events_gives_the_same_call(self, changed: dict[str, Any]) -> None:
        events = self.events(**changed)
        expected = fold(events)
        state = "missed" if changed.get("answered") is False else "ended"
        assert expected["state"] == state
        for order in itertools.islice(itertools.permutations(events), 5040):
            assert fold([*order, order[0]]) == expected

    def test_events_carry_the_connection_aware_times_and_ids(self) -> None:
        for event in self.events():
            assert (event.operator, event.connection_id) == (self.operator_class.slug, 7)
            assert event.occurred_at.tzinfo is not None
            assert 0 < len(event.event_id) <= 128
            assert 0 < len(event.provider_call_id) <= 128

    def test_the_same_request_twice_has_the_same_keys(self) -> None:
        operator = self.operator()
        for first, second in zip(self.requests(), self.requests(), strict=True):
            assert operator.delivery_key(first) == operator.delivery_key(second)
            assert [event.event_id for event in operator.parse(first)] == [
                event.event_id for event in operator.parse(second)
            ]

    def test_different_requests_have_different_keys(self) -> None:
        operator = self.operator()
        requests = list(self.requests())
        assert len({operator.delivery_key(request) for request in requests}) == len(requests)
        ids = [event.event_id for event in self.events()]
        assert len(set(ids)) == len(ids)

    def test_another_secret_in_the_address_is_rejected(self) -> None:
        for wrong in ("", "x", TOKEN + "x", "секрет"):
            for request in self.requests():
                with pytest.raises(WebhookRejected):
                    self.operator().verify(replace(request, token=wrong))

    def test_other_credentials_reject_every_request(self) -> None:
        secret = [field.name for field in self.operator_class.credentials if field.secret]
        wrong = self.operator(token=TOKEN + "-rotated", **dict.fromkeys(secret, "another-secret"))
        for request in self.requests():
            with pytest.raises(WebhookRejected):
                wrong.verify(request)

    def test_a_connection_without_any_secret_rejects_every_request(self) -> None:
        empty = self.operator(token="", **dict.fromkeys(self.settings_of, ""))
        for request in self.requests():
            with pytest.raises(WebhookRejected):
                empty.verify(replace(request, token=""))

    @pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
    def test_garbage_never_breaks_it(self, body: bytes) -> None:
        for request in self.requests():
            self.survives(replace(request, body=body))

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    @given(body=st.binary(max_size=300), tail=st.text(max_size=30))
    def test_any_bytes_never_break_it(self, body: bytes, tail: str) -> None:
        request = next(self.requests())
        self.survives(replace(request, body=body))
        self.survives(replace(request, body=body, path_tail=tail))

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    @given(data=st.data())
    def test_a_damaged_request_never_breaks_it(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.requests())))
        at = data.draw(st.integers(0, max(0, len(request.body) - 1)))
        inserted = data.draw(st.binary(max_size=3))
        self.survives(replace(request, body=request.body[:at] + inserted + request.body[at + 1 :]))

    def survives(self, request: InboundRequest) -> None:
        operator = self.operator()
        with suppress(WebhookRejected):
            operator.verify(request)
        try:
            events = operator.parse(request)
        except MalformedRequest:
            events = []
        assert all(isinstance(event, CallEvent) for event in events)
        assert len(operator.delivery_key(request)) <= 128
        assert len(operator.mask(request)) <= 100_000
        assert 200 <= operator.reply(request).status < 500

    def test_an_unknown_notice_is_counted_not_lost(self) -> None:
        request = replace(next(self.requests()), path_tail="events/of-next-year", body=b"")
        try:
            events = self.operator().parse(request)
        except MalformedRequest:
            return
        assert [event.kind for event in events] == [CallKind.UNKNOWN]

    def test_secrets_are_never_shown(self) -> None:
        operator = self.operator()
        secrets = operator.secrets()
        assert TOKEN in secrets
        for request in self.requests():
            texts = [operator.mask(request), repr(request), repr(operator)]
            for event in operator.parse(request):
                texts += [event.raw, repr(event)]
            for text in texts:
                assert not [secret for secret in secrets if secret in text]
        error = operator.failure("сбой " + " ".join(secrets), permanent=True)
        assert not [secret for secret in secrets if secret in f"{error} {error!r}"]

    def test_missing_credentials_are_named(self) -> None:
        required = [field for field in self.operator_class.credentials if field.required]
        empty = self.operator(**dict.fromkeys(self.settings_of, ""))
        assert empty.missing_credentials() == [field for field in required if not field.default]
        if not empty.missing_credentials():
            return
        result = empty.check()
        assert not result.ok
        for field in empty.missing_credentials():
            assert field.label in result.message
        with pytest.raises(MissingCredentials):
            empty.require_credentials()

    def attempts(self, operator: TelephonyOperator) -> dict[Capability, Callable[[], object]]:
        """One request of each kind to the operator's server."""
        call = ClickToCall(
            extension="101",
            employee_key="101",
            number="79031234567",
            request_id="crm-1",
            line_number="74950001122",
        )
        ref = RecordingRef(recording_ref="1/1", provider_call_id="1", employee_key="101")
        url = "https://crm.example.ru/telephony/x"
        return {
            Capability.CLICK_TO_CALL: lambda: operator.place_call(call),
            Capability.HISTORY: lambda: list(operator.history(NOW - timedelta(hours=2), NOW)),
            Capability.RECORDINGS: lambda: operator.fetch_recording(ref),
            Capability.EXTENSIONS: operator.extensions,
            Capability.LINES: operator.lines,
            Capability.SUBSCRIPTION: lambda: operator.subscribe(url, None),
        }

    @pytest.mark.parametrize("answer", UNUSABLE, ids=list(UNUSABLE))
    def test_whatever_the_server_answers_is_a_clear_failure(
        self, answer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        client = Answering(UNUSABLE[answer])
        operator = self.operator_class(7, dict(self.settings_of), client, webhook_token=TOKEN)
        for capability, attempt in self.attempts(operator).items():
            if capability not in operator.capabilities:
                continue
            if answer == "page" and capability in self.content_with_any_2xx:
                continue
            client.asked = 0
            with pytest.raises(OperatorError) as caught:
                attempt()
            shown = f"{caught.value} {caught.value!r}"
            assert not [secret for secret in operator.secrets() if secret in shown]
            if client.asked and answer in ("slow", "dead", "busy", "broken"):
                assert not caught.value.permanent, (capability, shown)

    def test_what_it_cannot_do_is_said(self) -> None:
        operator = self.operator()
        call = ClickToCall(extension="101", number="79031234567", request_id="crm-1")
        attempts: dict[Capability, Callable[[], object]] = {
            Capability.CLICK_TO_CALL: lambda: operator.place_call(call),
            Capability.HISTORY: lambda: list(operator.history(NOW, NOW)),
            Capability.RECORDINGS: lambda: operator.fetch_recording(RecordingRef()),
            Capability.EXTENSIONS: operator.extensions,
            Capability.LINES: operator.lines,
            Capability.SUBSCRIPTION: lambda: operator.subscribe("https://crm.example.ru", None),
        }
        for capability, attempt in attempts.items():
            if capability not in operator.capabilities:
                with pytest.raises(NotSupported, match="Не поддерживается"):
                    attempt()
