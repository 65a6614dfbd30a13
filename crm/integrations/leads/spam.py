"""Spam points of a request (site.md §6): a pure scorer; rates are counted elsewhere.

Five points send a request to the folder «Спам», where a person can restore it, so a wrong
guess costs time and never a lead. What the reference calls suspicious weighs five at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from crm.integrations.leads.base import IntakeSettings, LeadSubmission, SpamLimits, Trust
from crm.values import phones
from crm.values.phones import PhoneFlag

SUSPICIOUS = 5
# A visitor whose browser could not fetch the token is no robot yet, unlike one who forges it.
NO_TOKEN = 3
MANY_LINKS = 3
BBCODE = 3
LATIN_ONLY = 2
PHRASE = 2

DEFAULT_PHRASES = (
    "продвижение сайт",
    "раскрутка сайт",
    "база клиентов",
    "рассылка по базам",
    "заработок в интернете",
    "обратные ссылки",
    "онлайн казино",
    "кредит без отказа",
    "seo services",
    "search engine optimization",
    "rank your website",
    "first page of google",
    "backlinks",
    "guest post",
    "casino",
    "viagra",
    "crypto investment",
)

_LINK = re.compile(r"https?://|\bwww\.", re.IGNORECASE)
_BBCODE = re.compile(r"\[(?:url|link)\s*=", re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-z]")
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")

Finding = tuple[int, str]


@dataclass(frozen=True, slots=True)
class SpamVerdict:
    """Points and their reasons in Russian; `is_spam` by the point's threshold."""

    points: int
    reasons: tuple[str, ...]
    is_spam: bool = False


def score(
    submission: LeadSubmission,
    trust: Trust,
    settings: IntakeSettings,
    token_age: float | None,
    own_numbers: Collection[str] = (),
) -> SpamVerdict:
    """Count the points of a request.

    `token_age` is the answer of `tokens.age` in seconds (None: absent or forged), `own_numbers`
    are match keys of the company's and the staff's numbers.
    """
    findings = [
        *_trap(submission),
        *_time(submission, trust, settings, token_age),
        *_phone(submission, own_numbers),
        *_black_list(submission, settings.spam),
        *_content(submission, settings.spam),
    ]
    points = sum(weight for weight, _ in findings)
    reasons = tuple(reason for _, reason in findings)
    return SpamVerdict(points, reasons, points >= settings.spam.threshold)


def _trap(submission: LeadSubmission) -> Iterator[Finding]:
    if submission.honeypot_filled:
        yield SUSPICIOUS, "заполнено скрытое поле-ловушка"


def _time(
    submission: LeadSubmission, trust: Trust, settings: IntakeSettings, token_age: float | None
) -> Iterator[Finding]:
    if trust.signed or not settings.uses_snippet:
        return
    limits = settings.spam
    if not submission.token:
        yield NO_TOKEN, "нет метки времени от скрипта сайта"
    elif token_age is None:
        yield SUSPICIOUS, "метка времени подделана"
    elif token_age < limits.min_token_age:
        yield SUSPICIOUS, "форма отправлена быстрее, чем её успел бы заполнить человек"
    elif token_age > limits.max_token_age:
        yield SUSPICIOUS, "страница была открыта слишком давно"


def _phone(submission: LeadSubmission, own_numbers: Collection[str]) -> Iterator[Finding]:
    if any(phone.flag is PhoneFlag.SUSPICIOUS for phone in submission.phones):
        yield SUSPICIOUS, "такого номера телефона не бывает"
    if any(key in own_numbers for key in _keys(submission)):
        yield SUSPICIOUS, "указан номер компании или сотрудника"


def _black_list(submission: LeadSubmission, limits: SpamLimits) -> Iterator[Finding]:
    if any(key in limits.blocked_phones for key in _keys(submission)):
        yield SUSPICIOUS, "телефон в чёрном списке"
    domain = submission.email.rpartition("@")[2]
    if domain and domain in limits.blocked_email_domains:
        yield SUSPICIOUS, "домен почты в чёрном списке"
    if submission.ip and submission.ip in limits.blocked_ips:
        yield SUSPICIOUS, "адрес отправителя в чёрном списке"


def _content(submission: LeadSubmission, limits: SpamLimits) -> Iterator[Finding]:
    words = f"{submission.name}\n{submission.full_comment}"
    links = len(_LINK.findall(words))
    if links > limits.max_links:
        yield MANY_LINKS, f"ссылок в тексте: {links}"
    if _BBCODE.search(words):
        yield BBCODE, "в тексте разметка ссылок форума"
    if _is_latin(words) and not _has_russian_phone(submission):
        yield LATIN_ONLY, "текст только латиницей и нет российского номера"
    folded = words.casefold()
    for phrase in (*DEFAULT_PHRASES, *limits.phrases):
        if phrase.casefold() in folded:
            yield PHRASE, f"рекламная фраза «{phrase}»"


def _is_latin(words: str) -> bool:
    return bool(_LATIN.search(words)) and not _CYRILLIC.search(words)


def _has_russian_phone(submission: LeadSubmission) -> bool:
    return any((phone.e164 or "").startswith("+7") for phone in submission.phones)


def _keys(submission: LeadSubmission) -> list[str]:
    found = (phones.match_key(phone.e164 or phone.raw) for phone in submission.phones)
    return [key for key in found if key]
