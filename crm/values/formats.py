"""How a Russian (or English) reader expects numbers, money, dates and durations."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

NBSP = "\u00a0"
_MONTHS = {
    "ru": ("янв", "фев", "мар", "апр", "мая", "июн", "июл", "авг", "сен", "окт", "ноя", "дек"),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}
_NEAR = {
    "ru": {-1: "вчера", 0: "сегодня", 1: "завтра"},
    "en": {-1: "yesterday", 0: "today", 1: "tomorrow"},
}
_SIZES: tuple[int, int, int] = (10**9, 10**6, 10**3)
_SHORT = {"ru": ("млрд", "млн", "тыс."), "en": ("bn", "m", "k")}
_FEW, _TEENS = range(2, 5), range(11, 15)
_CURRENCY = {"RUB": "₽", "RUR": "₽", "USD": "$", "EUR": "€"}


def number(value: int | float | Decimal, locale: str = "ru") -> str:
    """Whole number with its thousands apart: ``12 500 000``."""
    text = f"{int(value):,}"
    return text.replace(",", NBSP) if locale == "ru" else text


def decimal(value: float | Decimal, places: int = 1, locale: str = "ru") -> str:
    """Number with at most ``places`` digits after the comma, none when they are zero."""
    text = f"{value:,.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if locale != "ru":
        return text
    return text.replace(",", NBSP).replace(".", ",")


def money(value: Decimal | int | None, currency: str = "RUB", locale: str = "ru") -> str:
    """``12 500 000 ₽``; a dash when unknown."""
    if value is None:
        return "—"
    return f"{number(value, locale)}{NBSP}{_CURRENCY.get(currency, currency)}"


def money_short(value: Decimal | int | None, currency: str = "RUB", locale: str = "ru") -> str:
    """``12,5 млн ₽``; a dash when unknown."""
    if value is None:
        return "—"
    sign = _CURRENCY.get(currency, currency)
    amount = Decimal(value)
    for place, size in enumerate(_SIZES):
        if abs(amount) >= size:
            digits = decimal(amount / size, 1, locale)
            return f"{digits}{NBSP}{_SHORT[_known(locale)][place]}{NBSP}{sign}"
    return f"{number(value, locale)}{NBSP}{sign}"


def date(value: dt.date, locale: str = "ru", *, today: dt.date | None = None) -> str:
    """``23 ноя 2026``; the year is left out in the current one when ``today`` is given."""
    month = _MONTHS[_known(locale)][value.month - 1]
    text = f"{value.day}{NBSP}{month}"
    return text if today and today.year == value.year else f"{text}{NBSP}{value.year}"


def day(value: dt.date, today: dt.date, locale: str = "ru") -> str:
    """``вчера``, ``сегодня``, ``завтра`` or the date."""
    near = _NEAR[_known(locale)].get((value - today).days)
    return near or date(value, locale, today=today)


def moment(
    value: dt.datetime, tz: ZoneInfo, now: dt.datetime, locale: str = "ru", *, near: bool = True
) -> str:
    """``сегодня 14:05`` or ``23 ноя 14:05`` in the company's zone."""
    local = value.astimezone(tz)
    today = now.astimezone(tz).date()
    text = day(local.date(), today, locale) if near else date(local.date(), locale)
    return f"{text} {local:%H:%M}"


def duration(seconds: int | float | None, locale: str = "ru") -> str:
    """``3 мин 12 с``."""
    if seconds is None:
        return "—"
    words = ("ч", "мин", "с") if locale == "ru" else ("h", "min", "s")
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = [
        f"{amount}{NBSP}{word}"
        for amount, word in zip((hours, minutes, left), words, strict=True)
        if amount
    ]
    return " ".join(parts[:2]) or f"0{NBSP}{words[2]}"


def initials(name: str | None) -> str:
    """``Ольга Соколова`` → ``ОС``."""
    words = [word for word in (name or "").replace("«", "").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


def plural(n: int, one: str, few: str, many: str) -> str:
    """Russian form of a word after ``n``: сделка, сделки, сделок."""
    tail, tens = abs(n) % 10, abs(n) % 100
    if tail == 1 and tens not in _TEENS:
        return one
    return few if tail in _FEW and tens not in _TEENS else many


def _known(locale: str) -> str:
    return locale if locale in _MONTHS else "ru"
