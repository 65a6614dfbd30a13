"""Spam points: every layer, and that ordinary requests pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crm.integrations.leads.base import IntakeSettings, LeadSubmission, SpamLimits, Trust
from crm.integrations.leads.spam import DEFAULT_PHRASES, SpamVerdict, score
from crm.values import phones
from crm.values.phones import Phone

POINT = IntakeSettings(id=1, key="k" * 32)
SNIPPET = replace(POINT, uses_snippet=True)


def phone(raw: str) -> tuple[Phone, ...]:
    return tuple(phones.parse_many(raw))


LEAD = LeadSubmission(
    channel="site_form",
    name="Ольга Жукова",
    phones=phone("8 916 204-17-35"),
    email="olga@example.org",
    comment="Интересует двушка, https://example.org/flats/17",
    ip="203.0.113.5",
)


def judged(
    lead: LeadSubmission, point: IntakeSettings = POINT, age: float | None = None
) -> SpamVerdict:
    return score(lead, Trust(), point, age)


def test_an_ordinary_request_has_no_points() -> None:
    assert judged(LEAD) == SpamVerdict(0, (), False)


def test_a_filled_honeypot_is_spam() -> None:
    assert judged(replace(LEAD, honeypot_filled=True)).is_spam


@pytest.mark.parametrize(
    ("token", "age", "points"),
    [
        ("t", 2.9, 5),
        ("t", 3.0, 0),
        ("t", 86400.0, 0),
        ("t", 86401.0, 5),
        ("t", -1.0, 5),
        ("t", None, 5),
        ("", None, 3),
    ],
)
def test_the_time_trap_of_points_with_the_snippet(
    token: str, age: float | None, points: int
) -> None:
    lead = replace(LEAD, token=token)

    assert judged(lead, SNIPPET, age).points == points
    assert judged(lead, POINT, age).points == 0
    assert score(lead, Trust(signed=True), SNIPPET, age).points == 0


def test_an_impossible_number_is_spam_and_an_unread_one_is_not() -> None:
    assert judged(replace(LEAD, phones=phone("+7 111 111-11-11"))).is_spam
    assert not judged(replace(LEAD, phones=phone("204-17-35"))).is_spam


def test_our_own_number_is_spam() -> None:
    verdict = score(LEAD, Trust(), POINT, None, own_numbers={"9162041735"})

    assert verdict.is_spam
    assert verdict.reasons == ("указан номер компании или сотрудника",)


@pytest.mark.parametrize(
    "limits",
    [
        SpamLimits(blocked_phones=frozenset({"9162041735"})),
        SpamLimits(blocked_email_domains=frozenset({"example.org"})),
        SpamLimits(blocked_ips=frozenset({"203.0.113.5"})),
    ],
)
def test_the_black_list_is_spam(limits: SpamLimits) -> None:
    assert judged(LEAD, replace(POINT, spam=limits)).is_spam


def test_links_add_points_only_above_the_limit() -> None:
    two = replace(LEAD, comment="Вот http://a.ru и www.b.ru")
    three = replace(LEAD, comment="Вот http://a.ru и http://b.ru", extra={"ещё": "www.c.ru"})

    assert judged(two).points == 0
    assert judged(three).points == 3
    assert not judged(three).is_spam


def test_forum_markup_with_links_is_spam() -> None:
    comment = "[url=http://a.ru]раз[/url] [url=http://b.ru]два[/url] http://c.ru"

    assert judged(replace(LEAD, comment=comment)).is_spam


def test_latin_text_adds_points_without_a_russian_number() -> None:
    english = replace(LEAD, name="John Smith", comment="I would like to see the flat", extra={})

    assert judged(english).points == 0
    assert judged(replace(english, phones=())).points == 2
    assert judged(replace(english, phones=phone("+44 20 7946 0958"))).points == 2
    assert judged(replace(english, name="Джон", phones=())).points == 0


def test_a_typical_offer_is_spam() -> None:
    offer = LeadSubmission(
        channel="site_form",
        name="Mike",
        email="mike@example.com",
        comment="SEO services: get to the first page of Google with our backlinks",
    )

    assert judged(offer).is_spam


def test_phrases_of_the_point_count_too() -> None:
    point = replace(POINT, spam=SpamLimits(phrases=("Натяжные потолки",), threshold=2))
    lead = replace(LEAD, comment="Предлагаем НАТЯЖНЫЕ ПОТОЛКИ")

    assert judged(lead, point).is_spam
    assert judged(lead).points == 0


def test_phrases_are_listed_folded() -> None:
    assert all(phrase == phrase.casefold() for phrase in DEFAULT_PHRASES)
