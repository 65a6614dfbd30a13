"""The filter of the list of calls: read from the address, shown as segments and chips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask_babel import get_locale
from flask_babel import gettext as _

from crm.reports.call_bar import CallBar
from crm.reports.call_filters import (
    CALLBACKS,
    DIRECTIONS,
    PERIODS,
    RESULTS,
    CallFilter,
    minutes,
    seconds,
)
from crm.reports.calls import Count
from crm.reports.company import local_today
from crm.values import formats, phones
from crm.views import arguments, call_words

# Segments of the list in their order: what each narrows the list to.
SEGMENTS: dict[str, dict[str, str]] = {
    "all": {},
    "in": {"direction": "in"},
    "out": {"direction": "out"},
    "missed": {"result": "missed"},
    "live": {"result": "live"},
}
_DAYS = ("period", "day_from", "day_to")


def read_filter() -> CallFilter:
    """The filter written in the address; what cannot be read narrows nothing."""
    first, last = arguments.day("from"), arguments.day("to")
    return CallFilter(
        direction=arguments.choice("direction", DIRECTIONS),
        result=arguments.choice("result", RESULTS),
        callback=arguments.choice("callback", CALLBACKS),
        employee=arguments.number("employee"),
        department=arguments.number("department"),
        connection=arguments.number("connection"),
        source=arguments.number("source"),
        line=arguments.text("line", 32),
        talk_from=seconds(arguments.text("talk_from", 10)),
        talk_to=seconds(arguments.text("talk_to", 10)),
        first=arguments.choice("first", ("first", "repeat")),
        recording=arguments.choice("recording", ("yes", "no")),
        found=arguments.choice("found", ("history",)),
        transferred=arguments.choice("transferred", ("yes",)),
        # Own dates take the place of a named period.
        period="" if first or last else arguments.choice("period", PERIODS),
        day_from=first,
        day_to=last,
        q=arguments.text("q", 40),
    )


def address(args: Mapping[str, Any], path: str = "/calls") -> str:
    """Address of the list with these arguments."""
    return f"{path}?{urlencode(args)}" if args else path


def segment_of(wanted: CallFilter) -> str:
    """Which segment of the list is shown; empty when none is exactly."""
    if wanted.result == "missed":
        return "missed"
    parts = SEGMENTS.items()
    return next((name for name, part in parts if wanted == wanted.of_segment(**part)), "")


def segments(wanted: CallFilter, counts: Mapping[str, Count]) -> list[dict[str, Any]]:
    """Links of the head, with how many calls each has within the rest of the filter."""
    labels = (_("Все"), _("Входящие"), _("Исходящие"), _("Пропущенные"), _("Сейчас"))
    chosen = segment_of(wanted)
    return [
        {
            "label": label,
            "href": address(wanted.of_segment(**part).args()),
            "active": name == chosen,
            "count": number(counts.get(name)),
        }
        for label, (name, part) in zip(labels, SEGMENTS.items(), strict=True)
    ]


def number(count: Count | None) -> str | None:
    """«1 250», «500+»; nothing for nothing."""
    if count is None or not count[0]:
        return None
    return formats.number(count[0], str(get_locale() or "ru")) + ("+" if count[1] else "")


def chips(wanted: CallFilter, bar: CallBar) -> list[dict[str, str]]:
    """What the list is narrowed to, in words, each with the address without it."""
    return [
        {"label": label, "remove": address(wanted.without(*names))}
        for label, names in (*_people(wanted, bar), *_rest(wanted))
    ]


def _people(wanted: CallFilter, bar: CallBar) -> list[tuple[str, tuple[str, ...]]]:
    gone = _("недоступно вам")
    found = (
        (wanted.employee, _("Сотрудник: %(name)s", name=bar.employee or gone), "employee"),
        (
            wanted.department,
            _("Отдел: %(name)s", name=bar.department(wanted.department) or gone),
            "department",
        ),
        (wanted.source, _("Источник: %(name)s", name=bar.source or gone), "source"),
        (wanted.line, _("Линия: %(name)s", name=phones.pretty(wanted.line)), "line"),
        (
            wanted.connection,
            _("Подключение: %(name)s", name=bar.connection(wanted.connection) or gone),
            "connection",
        ),
    )
    return [(label, (name,)) for value, label, name in found if value]


def _rest(wanted: CallFilter) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    if wanted.result not in ("", "missed", "live"):
        found.append((str(call_words.RESULTS[wanted.result]), ("result",)))
    if segment_of(wanted) == "" and wanted.direction:
        found.append((str(call_words.DIRECTIONS[wanted.direction]), ("direction",)))
    if wanted.callback and wanted.result != "missed":
        label = _("Перезвон: %(state)s", state=call_words.CALLBACKS[wanted.callback])
        found.append((label, ("callback",)))
    if wanted.talk_from is not None or wanted.talk_to is not None:
        found.append((_talk(wanted), ("talk_from", "talk_to")))
    marks = {
        ("first", "first"): _("Первый звонок"),
        ("first", "repeat"): _("Повторный звонок"),
        ("recording", "yes"): _("С записью"),
        ("recording", "no"): _("Без записи"),
        ("found", "history"): _("Найдены сверкой"),
        ("transferred", "yes"): _("С переводом"),
    }
    found += [
        (str(label), (name,))
        for (name, value), label in marks.items()
        if getattr(wanted, name) == value
    ]
    if wanted.q:
        found.append((f"«{wanted.q}»", ("q",)))
    return found


def _talk(wanted: CallFilter) -> str:
    first, last = wanted.talk_from, wanted.talk_to
    if last is None:
        return _("Разговор от %(time)s мин", time=minutes(first or 0))
    if first is None:
        return _("Разговор до %(time)s мин", time=minutes(last))
    return _("Разговор %(first)s–%(last)s мин", first=minutes(first), last=minutes(last))


def period_label(wanted: CallFilter) -> str:
    """The chosen period in words; empty when there is none."""
    if not (wanted.day_from or wanted.day_to):
        return str(call_words.PERIODS[wanted.period]) if wanted.period else ""
    locale, today = str(get_locale() or "ru"), local_today()
    first, last = (
        formats.day(day, today, locale) if day else "…" for day in (wanted.day_from, wanted.day_to)
    )
    return first if first == last else f"{first} – {last}"


def period_links(wanted: CallFilter) -> list[dict[str, Any]]:
    """Quick choices of the period."""
    cleared = dict.fromkeys(_DAYS)
    made = [
        {
            "label": str(label),
            "href": address(wanted.args(**{**cleared, "period": name})),
            "active": wanted.period == name,
        }
        for name, label in call_words.PERIODS.items()
    ]
    everything = {"label": _("За всё время"), "href": address(wanted.without(*_DAYS))}
    return [*made, {**everything, "active": not period_label(wanted)}]
