"""What every lead channel must do. Inherit `LeadChannelConformance` in the channel's test.

A subclass sets `channel` and overrides `point` or `scenario` where the channel needs more.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.leads import registry
from crm.integrations.leads.base import (
    IntakeSettings,
    LeadChannel,
    LeadRejected,
    LeadScenario,
    LeadSubmission,
    Outcome,
    OutcomeKind,
    SimulatedRequest,
    Trust,
    Utm,
)

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
SECRET = "secret-of-the-test-point-4711"
TOKEN_SECRET = "token-secret-of-the-test-point-0815"
CONTENT_TYPES = (
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=windows-1251",
    "application/x-www-form-urlencoded; charset=utf-32",
    "multipart/form-data",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=b; charset=x-unknown",
    "text/plain",
    "garbage;;;=",
)
GARBAGE = (
    b"",
    b"\x00",
    b"\xff\xfe\xfa",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"name": "\\ud800", "phone": "\\u0000"}',
    b'{"phone": ' + b"9" * 6000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 60_000,
    b"a=%FF%FE&b=%",
    b"&&&===%%%",
    b"--b\r\n\r\n--b--",
    b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\xfe\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\nx',
    b"x" * 300_000,
    b"a=1&" * 60_000,
)


class LeadChannelConformance:
    """The promises of `LeadChannel`, asked of one channel."""

    channel: ClassVar[LeadChannel]
    scenario: ClassVar[LeadScenario] = LeadScenario(
        name="Пётр Синицын",
        phone="8 (916) 204-17-35",
        comment="Хочу посмотреть двушку",
        page_url="https://example.org/flats/17?from=search",
        utm=Utm("yandex", "cpc", "весна 2026", "ad1", "купить квартиру"),
    )

    def point(self) -> IntakeSettings:
        return IntakeSettings(
            id=1, key="k" * 32, secret=SECRET, token_secret=TOKEN_SECRET, require_signature=True
        )

    def request(self, simulated: SimulatedRequest, at: dt.datetime = NOW) -> InboundRequest:
        return InboundRequest(
            method=simulated.method,
            path_tail=simulated.path_tail,
            query=simulated.query,
            headers=simulated.headers,
            body=simulated.body,
            remote_addr="203.0.113.5",
            received_at=at,
        )

    def simulated(self) -> InboundRequest:
        return self.request(self.channel.simulate(self.scenario, self.point(), NOW))

    def garbage(self, body: bytes, content_type: str) -> InboundRequest:
        headers = {"Content-Type": content_type} if content_type else {}
        return self.request(SimulatedRequest("POST", "k", headers, body))

    def read(self, request: InboundRequest) -> LeadSubmission | None:
        """Parse, letting out nothing but the two errors a channel may raise."""
        try:
            return self.channel.parse(request, self.point())
        except (LeadRejected, MalformedRequest) as error:
            told = f"{error!r} {error}"
        assert SECRET not in told
        return None

    def test_the_registry_knows_it(self) -> None:
        assert type(registry.get(self.channel.slug)) is type(self.channel)
        assert self.channel.title
        assert self.channel.docs

    def test_a_simulated_request_is_trusted_and_parsed(self) -> None:
        request = self.simulated()

        trust = self.channel.authenticate(request, self.point(), NOW)
        lead = self.channel.parse(request, self.point(), trust)

        assert lead.channel == self.channel.slug
        assert lead.name == self.scenario.name
        assert [phone.e164 for phone in lead.phones] == ["+79162041735"]
        assert "двушку" in lead.full_comment
        assert lead.utm == self.scenario.utm

    def test_a_wrong_secret_is_rejected(self) -> None:
        other = replace(self.point(), secret="another-secret")

        with pytest.raises(LeadRejected) as caught:
            self.channel.authenticate(self.simulated(), other, NOW)

        assert caught.value.status in (401, 403, 404)

    def test_parsing_is_pure(self) -> None:
        request = self.simulated()

        assert self.channel.parse(request, self.point()) == self.channel.parse(
            request, self.point()
        )

    def test_the_same_request_twice_is_one_delivery(self) -> None:
        request = self.simulated()
        key = self.channel.delivery_key(request, self.point())
        again = replace(request, received_at=NOW + dt.timedelta(seconds=20))

        assert self.channel.delivery_key(again, self.point()) == key
        assert 0 < len(key) <= 128
        assert key.isascii()

    def test_another_request_is_another_delivery(self) -> None:
        other = replace(self.scenario, comment="Совсем другой вопрос")
        request = self.request(self.channel.simulate(other, self.point(), NOW))

        assert self.channel.delivery_key(request, self.point()) != self.channel.delivery_key(
            self.simulated(), self.point()
        )

    @pytest.mark.parametrize("content_type", CONTENT_TYPES)
    @pytest.mark.parametrize("number", range(len(GARBAGE)))
    def test_garbage_gives_only_our_errors(self, number: int, content_type: str) -> None:
        request = self.garbage(GARBAGE[number], content_type)

        self.read(request)

        key = self.channel.delivery_key(request, self.point())
        assert 0 < len(key) <= 128
        assert key.isascii()
        self.channel.mask(request, self.point()).encode("utf-8")

    @settings(max_examples=150, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.binary(max_size=400), st.sampled_from(CONTENT_TYPES))
    def test_any_bytes_give_only_our_errors(self, body: bytes, content_type: str) -> None:
        request = self.garbage(body, content_type)
        lead = self.read(request)

        assert lead is None or not lead.is_empty
        assert self.channel.delivery_key(request, self.point())

    def test_secrets_are_not_shown(self) -> None:
        request = self.simulated()
        lead = self.channel.parse(request, self.point())
        shown = f"{self.channel.mask(request, self.point())} {lead!r} {lead.raw} {self.point()!r}"

        assert SECRET not in shown
        assert TOKEN_SECRET not in shown
        assert "204-17-35" not in repr(lead)

    @pytest.mark.parametrize("kind", OutcomeKind)
    def test_every_outcome_has_an_answer(self, kind: OutcomeKind) -> None:
        reply = self.channel.reply(
            self.simulated(), self.point(), Trust(signed=True), Outcome(kind, 5)
        )

        assert isinstance(reply, Reply)
        assert 200 <= reply.status < 400

    def test_a_refusal_has_an_answer_with_its_status(self) -> None:
        error = LeadRejected(413, "too_large")

        assert self.channel.refuse(self.simulated(), None, error).status == 413
        assert self.channel.refuse(self.simulated(), self.point(), error).status == 413
