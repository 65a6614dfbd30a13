"""Source matching: the table of the rules row by row, every step, every tie-break, properties."""

from __future__ import annotations

import random
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.operations import attribution
from crm.operations.attribution import (
    EXPLANATION_LIMIT,
    Evidence,
    Marks,
    RuleIndex,
    SourceRule,
    Step,
    Verdict,
    choose,
    validate_unique,
)

UNDEFINED = 999


def utm(text: str) -> Marks:
    """Read `yandex/cpc/–/–` as the table writes it."""
    source, medium, campaign, content = ("" if part == "–" else part for part in text.split("/"))
    return source, medium, campaign, content


def rule(source_id: int, marks: str = "–/–/–/–", **fields: object) -> SourceRule:
    return replace(SourceRule(source_id, f"Источник {source_id}", utm=utm(marks)), **fields)


A = rule(1, "yandex/*/*/*")
B = rule(2, "yandex/cpc/*/*")
C = rule(3, "yandex/cpc/spring/*")
D = rule(4, "yandex/cpc/–/–")
E = rule(5, "*/cpc/*/*")
F = rule(6, "*/*/*/*")


@pytest.mark.parametrize(
    ("marks", "rules", "winner", "matches"),
    [
        ("yandex/cpc/spring/ad1", (A, B, C), C, 3),
        ("yandex/cpc/autumn/ad1", (A, B, C), B, 2),
        ("yandex/cpc/autumn/ad1", (B, D), B, 2),
        ("YANDEX/CPC/–/–", (B, D), D, 2),
        ("google/cpc/x/y", (A, E, F), E, 1),
        ("vk/social/x/y", (A, F), F, 0),
    ],
)
def test_the_table_of_the_utm_rule(
    marks: str, rules: tuple[SourceRule, ...], winner: SourceRule, matches: int
) -> None:
    verdict = choose(Evidence(utm=utm(marks)), rules, UNDEFINED)

    assert (verdict.source_id, verdict.step, verdict.matches) == (winner.id, Step.UTM, matches)
    assert winner.name in verdict.explanation


def test_without_marks_no_source_is_chosen_by_utm_and_the_domain_decides() -> None:
    site = rule(7, domains=("example.ru",))
    evidence = Evidence(page_url="https://example.ru/flats")

    verdict = choose(evidence, (A, B, C, D, E, F, site), UNDEFINED)

    assert (verdict.source_id, verdict.step) == (7, Step.DOMAIN)


STEPS = (
    rule(11),
    rule(12, phone_key="4951234567"),
    rule(13, "yandex/*/*/*"),
    rule(14, domains=("example.ru",)),
    rule(15, channels=("site_form",)),
    rule(16),
)
FULL = Evidence(
    explicit_source_id=11,
    called_number="8 (495) 123-45-67",
    utm=("yandex", "", "", ""),
    page_url="https://example.ru/",
    channel="site_form",
    default_source_id=16,
)


SILENT: list[dict[str, object]] = [
    {"explicit_source_id": None},
    {"called_number": None},
    {"utm": ("", "", "", "")},
    {"page_url": ""},
    {"channel": ""},
    {"default_source_id": None},
]


@pytest.mark.parametrize("step", Step)
def test_each_step_decides_when_the_ones_before_are_silent(step: Step) -> None:
    evidence = FULL
    for silenced in SILENT[: step - 1]:
        evidence = replace(evidence, **silenced)

    verdict = choose(evidence, STEPS, UNDEFINED)

    expected = UNDEFINED if step is Step.UNDEFINED else 10 + step
    assert (verdict.step, verdict.source_id) == (step, expected)
    assert verdict.explanation.endswith(".")


@pytest.mark.parametrize("field", ["explicit_source_id", "default_source_id"])
@pytest.mark.parametrize("source_id", [404, 21])
def test_an_unknown_or_archived_source_is_never_given(field: str, source_id: int) -> None:
    archived = rule(21, active=False)

    verdict = choose(Evidence(**{field: source_id}), (archived,), UNDEFINED)

    assert (verdict.source_id, verdict.step) == (UNDEFINED, Step.UNDEFINED)


def test_the_system_source_is_named_but_not_recognised_by_marks() -> None:
    system = rule(UNDEFINED, "*/*/*/*", channels=("call",), domains=("example.ru",), is_system=True)
    seen = Evidence(utm=("a", "", "", ""), page_url="https://example.ru", channel="call")

    assert choose(seen, (system,), UNDEFINED).step is Step.UNDEFINED
    assert choose(Evidence(explicit_source_id=UNDEFINED), (system,), 1).step is Step.EXPLICIT


def test_more_matches_beat_fewer_stars_and_own_site() -> None:
    few = rule(1, "yandex/–/–/–", domains=("example.ru",))
    many = rule(2, "yandex/cpc/*/*")
    evidence = Evidence(utm=utm("yandex/cpc/–/–"), page_url="https://example.ru")

    verdict = choose(evidence, (few, many), UNDEFINED)

    assert (verdict.source_id, verdict.matches) == (2, 2)
    assert "совпало больше меток" in verdict.explanation


def test_fewer_loose_points_beat_the_own_site() -> None:
    loose = rule(1, "yandex/–/*/*", domains=("example.ru",))
    strict = rule(2, "yandex/*/*/*")
    evidence = Evidence(utm=utm("yandex/cpc/–/–"), page_url="https://example.ru")

    verdict = choose(evidence, (loose, strict), UNDEFINED)

    assert verdict.source_id == 2
    assert "без проверки" in verdict.explanation


def test_the_own_site_beats_fewer_stars() -> None:
    fewer_stars = rule(1, "yandex/–/–/–")
    own_site = rule(2, "yandex/*/*/*", domains=("example.ru",))
    evidence = Evidence(utm=utm("yandex/–/–/–"), page_url="https://shop.example.ru/a")

    verdict = choose(evidence, (fewer_stars, own_site), UNDEFINED)

    assert verdict.source_id == 2
    assert "страница на сайте" in verdict.explanation


def test_fewer_stars_beat_the_smaller_id() -> None:
    stars, plain = rule(1, "yandex/*/*/*"), rule(2, "yandex/–/–/–")

    verdict = choose(Evidence(utm=utm("yandex/–/–/–")), (stars, plain), UNDEFINED)

    assert verdict.source_id == 2
    assert "звёздочкой" in verdict.explanation


def test_the_smaller_id_is_the_last_tie_break() -> None:
    twins = (rule(8, "yandex/cpc/*/*"), rule(5, "yandex/cpc/*/*"))

    verdict = choose(Evidence(utm=utm("yandex/cpc/–/–")), twins, UNDEFINED)

    assert verdict.source_id == 5
    assert "заведён раньше" in verdict.explanation


def test_empty_fields_let_any_mark_pass_but_a_value_needs_its_mark() -> None:
    needs_campaign = rule(1, "yandex/–/spring/–")

    assert choose(Evidence(utm=utm("yandex/cpc/–/x")), (needs_campaign,), 9).source_id == 9
    assert choose(Evidence(utm=utm("yandex/cpc/spring/x")), (needs_campaign,), 9).source_id == 1


def test_only_the_lone_star_is_special() -> None:
    pattern = rule(1, "yan*/*/*/*")

    assert choose(Evidence(utm=utm("yandex/–/–/–")), (pattern,), 9).source_id == 9
    assert choose(Evidence(utm=utm("yan*/–/–/–")), (pattern,), 9).matches == 1


def test_a_star_in_the_request_is_not_a_match_of_a_star_in_the_source() -> None:
    assert choose(Evidence(utm=utm("*/–/–/–")), (F,), 9).matches == 0


@pytest.mark.parametrize(
    ("pattern", "mark"),
    [
        ("Весна 2026", "%D0%B2%D0%B5%D1%81%D0%BD%D0%B0+2026"),
        ("%D0%92%D0%B5%D1%81%D0%BD%D0%B0", "весна"),
        ("  spring ", "SPRING"),
        ("a b", "a%20b"),
        ("c%2B%2B", "c%2b%2B"),
        ("100%", "100%25"),
    ],
)
def test_marks_are_compared_decoded_trimmed_and_without_case(pattern: str, mark: str) -> None:
    source = SourceRule(1, "Яндекс", utm=("", "", pattern, ""))

    assert choose(Evidence(utm=("", "", mark, "")), (source,), 9).matches == 1


@pytest.mark.parametrize(
    ("listed", "page"),
    [
        ("example.ru", "https://www.example.ru/a?b"),
        ("WWW.Example.RU", "http://example.ru"),
        ("https://example.ru/landing", "https://example.ru:8443/"),
        ("example.ru", "https://novostroyki.example.ru/"),
        ("*.example.ru", "https://novostroyki.example.ru/"),
        ("пример.рф", "https://xn--e1afmkfd.xn--p1ai/1"),
        ("xn--e1afmkfd.xn--p1ai", "https://Пример.рф/1"),
        ("example.ru", "example.ru/flats"),
    ],
)
def test_a_page_is_on_a_listed_domain(listed: str, page: str) -> None:
    verdict = choose(Evidence(page_url=page), (rule(3, domains=(listed,)),), UNDEFINED)

    assert (verdict.source_id, verdict.step) == (3, Step.DOMAIN)


@pytest.mark.parametrize(
    "page",
    ["https://badexample.ru", "https://example.ru.evil.com", "https://[", "/flats", "ru", ""],
)
def test_a_similar_or_unreadable_page_is_not(page: str) -> None:
    assert choose(Evidence(page_url=page), (rule(3, domains=("example.ru",)),), 9).source_id == 9


def test_the_longest_listed_domain_wins_then_the_smaller_id() -> None:
    broad = rule(1, domains=("example.ru",))
    narrow, narrow_twin = rule(4, domains=("a.example.ru",)), rule(3, domains=("a.example.ru",))

    verdict = choose(Evidence(page_url="https://x.a.example.ru"), (broad, narrow, narrow_twin), 9)

    assert verdict.source_id == 3


@pytest.mark.parametrize(("department", "source_id"), [(10, 5), (20, 7), (30, 5), (None, 5)])
def test_a_channel_is_decided_by_department_else_by_the_smaller_id(
    department: int | None, source_id: int
) -> None:
    rules = (
        rule(7, channels=("vk_ads",), department_id=20),
        rule(5, channels=("vk_ads", "email"), department_id=10),
    )

    verdict = choose(Evidence(channel="vk_ads", department_id=department), rules, UNDEFINED)

    assert (verdict.source_id, verdict.step) == (source_id, Step.CHANNEL)


@pytest.mark.parametrize("called", ["+74951234567", "84951234567", "74951234567", "4951234567"])
def test_a_called_number_is_recognised_in_any_format(called: str) -> None:
    verdict = choose(Evidence(called_number=called), (rule(1, phone_key="4951234567"),), UNDEFINED)

    assert (verdict.source_id, verdict.step) == (1, Step.PHONE)


def test_saving_refuses_a_shared_phone_and_a_shared_channel_of_one_department() -> None:
    rules = [
        rule(1, phone_key="4951234567", channels=("call", "email"), department_id=10),
        rule(2, phone_key="4951234567", channels=("email",), department_id=20),
        rule(3, channels=("call",), department_id=10),
        rule(4, phone_key="4951234567", channels=("call",), department_id=10, active=False),
    ]

    errors = validate_unique(rules)

    assert len(errors) == 2
    assert "4951234567" in errors[0]
    assert "«Источник 1», «Источник 2»" in errors[0]
    assert "«call»" in errors[1]
    assert "«Источник 1», «Источник 3»" in errors[1]
    assert validate_unique(rules[:1]) == []


def test_two_sources_without_department_may_not_share_a_channel() -> None:
    rules = [rule(1, channels=("email",)), rule(2, channels=("email",))]

    assert len(validate_unique(rules)) == 1


def test_the_explanation_fits_its_column() -> None:
    long_name = SourceRule(1, "Очень длинное имя " * 40, utm=("м" * 900, "п" * 900, "р" * 900, "а"))
    verdict = choose(Evidence(utm=long_name.utm), (long_name, F), UNDEFINED)

    assert verdict.matches == 4
    assert len(verdict.explanation) <= EXPLANATION_LIMIT


WORDS = st.sampled_from(["", "yandex", "cpc", "Весна 2026", "a+b", "Straße", "i"])
PATTERNS = st.sampled_from(["", "*", "yandex", "cpc", "весна 2026", "A B", "i"])
DOMAINS = st.sampled_from(["example.ru", "a.example.ru", "пример.рф"])
PAGES = st.sampled_from(["", "https://a.example.ru/x", "https://пример.рф", "https://other.ru"])
CHANNELS = st.sampled_from(["call", "site_form"])
PHONES = st.sampled_from([None, "4951234567", "8001234567"])
DEPARTMENTS = st.sampled_from([None, 1, 2])
MARKS = st.tuples(WORDS, WORDS, WORDS, WORDS)
RULES = st.lists(
    st.builds(
        SourceRule,
        id=st.integers(1, 50),
        name=st.sampled_from(["Яндекс", "Сайт"]),
        phone_key=PHONES,
        domains=st.lists(DOMAINS, max_size=2).map(tuple),
        utm=st.tuples(PATTERNS, PATTERNS, PATTERNS, PATTERNS),
        channels=st.lists(CHANNELS, max_size=2).map(tuple),
        department_id=DEPARTMENTS,
        active=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda built: built.id,
)
EVIDENCE = st.builds(
    Evidence,
    explicit_source_id=st.sampled_from([None, None, None, 7]),
    called_number=st.sampled_from([None, None, "+7 495 123-45-67"]),
    utm=MARKS,
    page_url=PAGES,
    channel=CHANNELS,
    department_id=DEPARTMENTS,
    default_source_id=st.sampled_from([None, 3]),
)


@given(EVIDENCE, RULES, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(
    evidence: Evidence, rules: list[SourceRule], chance: random.Random
) -> None:
    shuffled = list(rules)
    chance.shuffle(shuffled)

    assert choose(evidence, shuffled, UNDEFINED) == choose(evidence, rules, UNDEFINED)


@given(EVIDENCE, RULES)
def test_an_inactive_rule_changes_nothing(evidence: Evidence, rules: list[SourceRule]) -> None:
    active = [built for built in rules if built.active]

    assert choose(evidence, rules, UNDEFINED) == choose(evidence, active, UNDEFINED)


@given(MARKS, RULES)
def test_a_source_with_all_marks_beats_every_other(marks: Marks, rules: list[SourceRule]) -> None:
    exact = SourceRule(1000, "Точный", utm=marks)
    verdict = choose(Evidence(utm=marks), [*rules, exact], UNDEFINED)
    filled = sum(1 for mark in marks if mark)

    if filled:
        assert (verdict.step, verdict.matches) == (Step.UTM, filled)


@given(MARKS, RULES)
def test_a_catch_all_never_takes_a_request_from_a_source_that_matches(
    marks: Marks, rules: list[SourceRule]
) -> None:
    stars = SourceRule(0, "Любой", utm=("*", "*", "*", "*"))
    before = choose(Evidence(utm=marks), rules, UNDEFINED)
    after = choose(Evidence(utm=marks), [*rules, stars], UNDEFINED)

    if before.matches:
        assert after.source_id == before.source_id
    elif any(marks):
        assert after.step is Step.UTM
        assert after.matches == 0


@given(EVIDENCE, RULES)
def test_case_and_encoding_do_not_matter(evidence: Evidence, rules: list[SourceRule]) -> None:
    def decided(marks: list[str]) -> Verdict:
        source, medium, campaign, content = marks
        same = replace(evidence, utm=(source, medium, campaign, content))
        return choose(same, rules, UNDEFINED)

    plain = [mark.replace("+", " ") for mark in evidence.utm]

    assert decided([mark.upper() for mark in plain]) == decided(plain)
    assert decided([quote(mark) for mark in plain]) == decided(plain)
    assert decided([f" {quote_plus(mark)} " if mark else "" for mark in plain]) == decided(plain)


def brute_force(marks: Marks, rules: list[SourceRule]) -> int | None:
    """The rule of section 7.2 written out plainly, to check the index against."""
    best: list[tuple[int, int, int, int]] = []
    folded = [mark.replace("+", " ").casefold() for mark in marks]
    for built in rules:
        fields = [field.replace("+", " ").casefold() for field in built.utm]
        if not built.active or not any(fields) or not any(folded):
            continue
        pairs = list(zip(fields, folded, strict=True))
        if any(field not in ("", "*") and field != mark for field, mark in pairs):
            continue
        matches = sum(1 for field, _ in pairs if field not in ("", "*"))
        loose = sum(1 for field, mark in pairs if not field and mark)
        best.append((-matches, loose, fields.count("*"), built.id))
    return min(best)[3] if best else None


@given(MARKS, RULES)
def test_the_index_agrees_with_the_rule_written_plainly(
    marks: Marks, rules: list[SourceRule]
) -> None:
    verdict = choose(Evidence(utm=marks), rules, UNDEFINED)
    by_utm = verdict.source_id if verdict.step is Step.UTM else None

    assert by_utm == brute_force(marks, rules)


def test_an_index_compares_a_few_of_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [rule(number, f"site{number}/cpc/*/*") for number in range(1, 2001)]
    index = RuleIndex([*rules, rule(5000, "*/*/*/*")])
    compared: list[int] = []
    rank = attribution._UtmPattern.rank

    def counted(pattern: attribution._UtmPattern, marks: Marks, sites: list[str]) -> object:
        compared.append(pattern.rule.id)
        return rank(pattern, marks, sites)

    monkeypatch.setattr(attribution._UtmPattern, "rank", counted)

    assert choose(Evidence(utm=utm("site77/cpc/–/–")), index, UNDEFINED).source_id == 77
    assert compared == [77, 5000]
