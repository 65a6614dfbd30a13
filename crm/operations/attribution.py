"""Which source an appeal belongs to and why: the deciding core of the rules of source matching.

Pure: no database. The caller loads the rules, asks `choose` and stores the verdict with its
explanation, so that a person who asks «почему так?» reads the same reasons the program used.
"""

from __future__ import annotations

import enum
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote_plus

from crm.integrations.leads import addresses
from crm.values import phones

Marks: TypeAlias = tuple[str, str, str, str]

MARK_NAMES = ("utm_source", "utm_medium", "utm_campaign", "utm_content")
NO_MARKS: Marks = ("", "", "", "")
WILDCARD = "*"
# The column that keeps the explanation.
EXPLANATION_LIMIT = 500
_SHOWN = 60


class Step(enum.IntEnum):
    """Evidence in the order it is asked; the first that gives a source wins."""

    EXPLICIT = 1
    PHONE = 2
    UTM = 3
    DOMAIN = 4
    CHANNEL = 5
    DEFAULT = 6
    UNDEFINED = 7


@dataclass(frozen=True, slots=True)
class SourceRule:
    """A source with the marks it is recognised by.

    `phone_key` is a match key of `crm.values.phones`; `domains` and `utm` are as typed.
    The system source («Не определён») is never recognised by marks, only named.
    """

    id: int
    name: str
    phone_key: str | None = None
    # Match keys of further lines that advertise the source.
    line_keys: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    utm: Marks = NO_MARKS
    channels: tuple[str, ...] = ()
    department_id: int | None = None
    active: bool = True
    is_system: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an appeal; `called_number` in any format, `utm` without the term."""

    explicit_source_id: int | None = None
    called_number: str | None = None
    utm: Marks = NO_MARKS
    page_url: str = ""
    channel: str = ""
    department_id: int | None = None
    default_source_id: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The source, the step that gave it, how many UTM marks matched, and the reasons in Russian."""

    source_id: int
    step: Step
    matches: int
    explanation: str


@dataclass(frozen=True, slots=True)
class _UtmPattern:
    """UTM fields of one source, normalised; compared as section «UTM rule» says."""

    rule: SourceRule
    fields: Marks
    sites: frozenset[str]

    @property
    def stars(self) -> int:
        return self.fields.count(WILDCARD)

    def first_literal(self) -> tuple[int, str] | None:
        return next(
            ((at, text) for at, text in enumerate(self.fields) if text not in ("", WILDCARD)), None
        )

    def rank(self, marks: Marks, page_sites: list[str]) -> _Rank | None:
        """Return how well the source fits (greater is better), None if it is out."""
        matches = loose = 0
        for pattern, mark in zip(self.fields, marks, strict=True):
            if pattern == WILDCARD:
                continue
            if not pattern:
                loose += bool(mark)
            elif pattern == mark:
                matches += 1
            else:
                return None
        return _Rank(matches, -loose, not self.sites.isdisjoint(page_sites), -self.stars)


@dataclass(frozen=True, slots=True, order=True)
class _Rank:
    """Order of the tie-breaks: the fields are compared from the first to the last."""

    matches: int
    minus_loose: int
    on_own_site: bool
    minus_stars: int

    def reason_over(self, other: _Rank) -> str:
        """Say by which tie-break this rank is better than another of the same source set."""
        if self.matches != other.matches:
            return "совпало больше меток"
        if self.minus_loose != other.minus_loose:
            return "меньше меток обращения осталось без проверки"
        if self.on_own_site != other.on_own_site:
            return "страница на сайте этого источника"
        if self.minus_stars != other.minus_stars:
            return "меньше полей со звёздочкой"
        return "заведён раньше"


class RuleIndex:
    """Rules arranged for many choices: by number, mark, domain and channel.

    Build once for a batch; a choice among thousands of sources then looks at a few.
    """

    def __init__(self, rules: Iterable[SourceRule]) -> None:
        self._active: dict[int, SourceRule] = {}
        self._phones: dict[str, SourceRule] = {}
        self._sites: dict[str, SourceRule] = {}
        self._channels: dict[str, list[SourceRule]] = defaultdict(list)
        self._by_mark: dict[tuple[int, str], list[_UtmPattern]] = defaultdict(list)
        self._catch_all: list[_UtmPattern] = []
        # Ascending ids make «the smaller id wins» the plain first-come rule everywhere below.
        for rule in sorted((rule for rule in rules if rule.active), key=lambda rule: rule.id):
            self._add(rule)

    def _add(self, rule: SourceRule) -> None:
        self._active[rule.id] = rule
        if rule.is_system:
            return
        for key in (rule.phone_key, *rule.line_keys):
            if key:
                self._phones.setdefault(key, rule)
        sites = frozenset(filter(None, map(_listed_site, rule.domains)))
        for site in sites:
            self._sites.setdefault(site, rule)
        for channel in set(rule.channels):
            self._channels[channel].append(rule)
        self._add_utm(rule, sites)

    def _add_utm(self, rule: SourceRule, sites: frozenset[str]) -> None:
        pattern = _UtmPattern(rule, normalise_marks(rule.utm), sites)
        literal = pattern.first_literal()
        if literal:
            self._by_mark[literal].append(pattern)
        elif pattern.stars:
            self._catch_all.append(pattern)

    def active(self, source_id: int | None) -> SourceRule | None:
        """Return the active source with this id."""
        return None if source_id is None else self._active.get(source_id)

    def by_phone(self, number: str | None) -> SourceRule | None:
        """Return the source that owns a called number."""
        return self._phones.get(phones.match_key(number)) if number else None

    def by_site(self, page_url: str) -> tuple[SourceRule, str] | None:
        """Return the source with the longest listed domain over the page, and that domain."""
        for domain in addresses.parent_domains(addresses.site(page_url)):
            rule = self._sites.get(domain)
            if rule:
                return rule, domain
        return None

    def by_channel(self, channel: str, department_id: int | None) -> SourceRule | None:
        """Return the source of a channel: of the appeal's department, else the smallest id."""
        rules = self._channels.get(channel)
        if not rules:
            return None
        own = (rule for rule in rules if department_id is not None)
        return next((rule for rule in own if rule.department_id == department_id), rules[0])

    def by_marks(self, marks: Marks, page_url: str) -> list[tuple[_Rank, SourceRule]]:
        """Return the sources that pass the normalised marks, best first."""
        sites = addresses.parent_domains(addresses.site(page_url))
        passed = [
            (rank, pattern.rule)
            for pattern in self._candidates(marks)
            if (rank := pattern.rank(marks, sites)) is not None
        ]
        # Two stable sorts: id ascending inside equal ranks, rank descending.
        passed.sort(key=lambda pair: pair[1].id)
        passed.sort(key=lambda pair: pair[0], reverse=True)
        return passed

    def _candidates(self, marks: Marks) -> Iterator[_UtmPattern]:
        if not any(marks):
            return
        for at, mark in enumerate(marks):
            if mark:
                yield from self._by_mark.get((at, mark), ())
        yield from self._catch_all


def choose(
    evidence: Evidence, rules: Iterable[SourceRule] | RuleIndex, undefined_source_id: int
) -> Verdict:
    """Choose the source of an appeal; the answer does not depend on the order of the rules.

    Sources that are archived or unknown are never chosen; with no evidence at all the answer
    is `undefined_source_id`.
    """
    index = rules if isinstance(rules, RuleIndex) else RuleIndex(rules)
    for decide in (_explicit, _phone, _utm, _domain, _channel, _default):
        verdict = decide(evidence, index)
        if verdict:
            return verdict
    why = "Ни номер, ни метки, ни сайт, ни канал обращения не указаны ни у одного источника."
    return _verdict(undefined_source_id, Step.UNDEFINED, why)


def _explicit(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    rule = index.active(evidence.explicit_source_id)
    if rule is None:
        return None
    return _verdict(rule.id, Step.EXPLICIT, f"Источник {_quoted(rule)} указан явно.")


def _phone(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    rule = index.by_phone(evidence.called_number)
    if rule is None:
        return None
    number = _short(evidence.called_number or "")
    why = f"Звонок на номер {number}: это телефон источника {_quoted(rule)}."
    return _verdict(rule.id, Step.PHONE, why)


def _utm(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    marks = normalise_marks(evidence.utm)
    passed = index.by_marks(marks, evidence.page_url)
    if not passed:
        return None
    rank, rule = passed[0]
    why = _utm_reason(rule, rank, marks)
    if len(passed) > 1:
        other_rank, other = passed[1]
        why += f" Подходил и {_quoted(other)}, но у выбранного: {rank.reason_over(other_rank)}."
    return _verdict(rule.id, Step.UTM, why, rank.matches)


def _domain(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    found = index.by_site(evidence.page_url)
    if found is None:
        return None
    rule, domain = found
    why = f"Страница заявки на сайте {_short(domain)}: он указан у источника {_quoted(rule)}."
    return _verdict(rule.id, Step.DOMAIN, why)


def _channel(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    rule = index.by_channel(evidence.channel, evidence.department_id)
    if rule is None:
        return None
    same = evidence.department_id is not None and rule.department_id == evidence.department_id
    tail = " с учётом отдела" if same else ""
    why = f"По каналу обращения{tail}: «{evidence.channel}» указан у источника {_quoted(rule)}."
    return _verdict(rule.id, Step.CHANNEL, why)


def _default(evidence: Evidence, index: RuleIndex) -> Verdict | None:
    rule = index.active(evidence.default_source_id)
    if rule is None:
        return None
    why = f"Источник {_quoted(rule)} задан по умолчанию для этой точки приёма или подключения."
    return _verdict(rule.id, Step.DEFAULT, why)


def validate_unique(rules: Iterable[SourceRule]) -> list[str]:
    """Return, in Russian, why these sources may not be saved together; empty if they may.

    A number belongs to one active source; a channel to several only if their departments differ.
    """
    by_phone: dict[str, list[SourceRule]] = defaultdict(list)
    by_channel: dict[tuple[str, int | None], list[SourceRule]] = defaultdict(list)
    for rule in sorted((rule for rule in rules if rule.active), key=lambda rule: rule.id):
        if rule.phone_key:
            by_phone[rule.phone_key].append(rule)
        for channel in sorted(set(rule.channels)):
            by_channel[channel, rule.department_id].append(rule)
    errors = [
        f"Телефон {phone} указан у нескольких источников: {_names(owners)}."
        for phone, owners in by_phone.items()
        if len(owners) > 1
    ]
    errors += [
        f"Канал «{channel}» указан у нескольких источников одного отдела: {_names(owners)}."
        for (channel, _), owners in by_channel.items()
        if len(owners) > 1
    ]
    return errors


def normalise_mark(text: str) -> str:
    """Return a mark as it is compared: percent-decoded, `+` as a space, trimmed, case folded."""
    decoded = unicodedata.normalize("NFC", unquote_plus(text or ""))
    return unicodedata.normalize("NFC", decoded.casefold()).strip()


def normalise_marks(marks: Marks) -> Marks:
    """Return the four marks as they are compared."""
    source, medium, campaign, content = map(normalise_mark, marks)
    return source, medium, campaign, content


def _listed_site(domain: str) -> str:
    # People write `*.example.ru` out of habit; a listed domain covers its subdomains anyway.
    return addresses.site(domain.strip().removeprefix("*."))


def _utm_reason(rule: SourceRule, rank: _Rank, marks: Marks) -> str:
    if rank.matches == 0:
        return f"UTM-метки есть, а {_quoted(rule)} принимает любые (в полях стоит «*»)."
    pairs = zip(MARK_NAMES, normalise_marks(rule.utm), marks, strict=True)
    same = ", ".join(
        f"{name}={_short(mark)}"
        for name, field, mark in pairs
        if field not in ("", WILDCARD) and field == mark
    )
    return f"Совпали UTM-метки ({rank.matches}): {same}. Это источник {_quoted(rule)}."


def _verdict(source_id: int, step: Step, why: str, matches: int = 0) -> Verdict:
    text = why if len(why) <= EXPLANATION_LIMIT else why[: EXPLANATION_LIMIT - 1] + "…"
    return Verdict(source_id, step, matches, text)


def _names(rules: list[SourceRule]) -> str:
    return ", ".join(_quoted(rule) for rule in rules)


def _quoted(rule: SourceRule) -> str:
    return f"«{_short(rule.name)}»"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
