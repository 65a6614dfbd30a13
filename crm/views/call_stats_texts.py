"""What the page «Статистика звонков» says: names of columns and rows, figures and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask_babel import LazyString, get_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.reports.call_stats import Row, Summary
from crm.reports.stat_names import Names
from crm.values import formats, phones

_PERIODS = {
    "today": _l("Сегодня"),
    "yesterday": _l("Вчера"),
    "7": _l("7 дней"),
    "30": _l("30 дней"),
    "month": _l("Этот месяц"),
    "own": _l("Свои даты"),
}
# table → its title, the heading of its first column, the name of the row without a key
_TABLES = {
    "employee": (_l("По сотрудникам"), _l("Сотрудник"), _l("Без сотрудника")),
    "line": (_l("По линиям"), _l("Линия"), _l("Линия не определена")),
    "source": (_l("По источникам"), _l("Источник"), _l("Без источника")),
    "connection": (_l("По подключениям"), _l("Подключение"), _l("Без подключения")),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the tables: what of the figures it shows, and how."""

    code: str
    title: LazyString
    # number, share or time
    kind: str = "number"


COLUMNS = (
    Column("incoming", _l("Входящие")),
    Column("answered", _l("Приняты")),
    Column("missed", _l("Пропущены")),
    Column("missed_share", _l("Доля пропущенных"), "share"),
    Column("outgoing", _l("Исходящие")),
    Column("first", _l("Первые")),
    Column("mean_wait", _l("Среднее ожидание"), "time"),
    Column("mean_talk", _l("Средний разговор"), "time"),
    Column("talked", _l("Всего разговоров"), "time"),
    Column("in_time", _l("Перезвонили вовремя")),
)
# In a file units stand in the heading.
EXPORTED = (
    *COLUMNS[:3],
    Column("missed_share", _l("Доля пропущенных, %")),
    *COLUMNS[4:6],
    Column("mean_wait", _l("Среднее ожидание, с")),
    Column("mean_talk", _l("Средний разговор, с")),
    Column("talked", _l("Всего разговоров, с")),
    COLUMNS[9],
)
# The calls behind a number, as the list of calls is asked for them.
CALLS_OF = {
    "incoming": {"direction": "in"},
    "answered": {"direction": "in", "result": "answered"},
    "missed": {"direction": "in", "result": "missed"},
    "outgoing": {"direction": "out"},
    "first": {"first": "first"},
}


def period_label(name: str) -> str:
    """What the period is called."""
    return str(_PERIODS[name])


def table_title(name: str) -> str:
    return str(_TABLES[name][0])


def table_head(name: str) -> str:
    """Heading of the first column."""
    return str(_TABLES[name][1])


def row_label(table: str, row: Row, names: Names) -> str:
    """What a line of a table is about."""
    if row.key is None or row.key == "":
        return str(_TABLES[table][2])
    if table == "line":
        return phones.pretty(str(row.key))
    known: dict[Any, str] = getattr(names, table)
    # Sources of other departments may be hidden from the person.
    return known.get(row.key) or _("Недоступен вам")


def row_note(table: str, row: Row, names: Names) -> str:
    """What stands under the label in small letters."""
    if table == "employee" and row.key is None:
        return _("ничьи пропущенные и непривязанные номера")
    if table != "line":
        return ""
    if row.many_sources:
        return _("разные источники")
    return names.source.get(row.source_id or 0, "")


def calls_url(arguments: dict[str, str]) -> str:
    """Address of the list of calls narrowed so."""
    return f"/calls?{urlencode(arguments)}"


# --- figures at the top -----------------------------------------------------------------


def kpis(now: Summary, before: Summary) -> list[dict[str, Any]]:
    """The figures with what has changed since the period before."""
    new, old = now.figures, before.figures
    return [
        _kpi(_("Входящие"), new.incoming, old.incoming, good_up=True),
        _kpi(_("Приняты"), new.answered, old.answered, new.answered_share, good_up=True),
        _kpi(_("Пропущены"), new.missed, old.missed, new.missed_share, good_up=False),
        _callback_kpi(now, before),
        _kpi(_("Первые звонки"), new.first, old.first, good_up=True),
        _kpi(_("Ожидание ответа, медиана"), now.median_wait, before.median_wait, show=_time),
        _kpi(_("Ожидание ответа, среднее"), new.mean_wait, old.mean_wait, show=_time),
        _kpi(_("Средний разговор"), new.mean_talk, old.mean_talk, good_up=None, show=_time),
        _kpi(_("Всего разговоров"), new.talked, old.talked, good_up=None, show=_time),
        _kpi(_("Создано сделок"), now.deals, before.deals, good_up=True),
    ]


def _kpi(
    label: str,
    value: float | None,
    before: float | None,
    share: float | None = None,
    *,
    good_up: bool | None = False,
    show: Any = None,
) -> dict[str, Any]:
    """``good_up``: whether growth is welcome (None: neither)."""
    show = show or _number
    made = {"label": label, "value": show(value), "share": _percent(share) if share else ""}
    if value is None or before is None or not (value or before):
        return made | {"note": "", "trend": None, "good": None}
    if not before:
        return made | {"note": _("раньше не было"), "trend": None, "good": None}
    change = round((value - before) / before * 100)
    if not change:
        return made | {"note": _("без изменений"), "trend": None, "good": None}
    note = _("%(change)s, было %(before)s", change=_signed(change, "%"), before=show(before))
    return made | {"note": note, **_trend(change, good_up)}


def _callback_kpi(now: Summary, before: Summary) -> dict[str, Any]:
    """A share is compared in points of a hundred, not in hundredths of itself."""
    value, old = now.figures.in_time_share, before.figures.in_time_share
    made: dict[str, Any] = {
        "label": _("Перезвонили вовремя"),
        "value": _percent(value),
        "share": _of(now.figures.in_time, now.figures.due) if now.figures.due else "",
    }
    if value is None or old is None:
        return made | {"note": "", "trend": None, "good": None}
    change = round(value - old)
    if not change:
        return made | {"note": _("без изменений"), "trend": None, "good": None}
    note = _(
        "%(change)s, было %(before)s", change=_signed(change, _("п. п.")), before=_percent(old)
    )
    return made | {"note": note, **_trend(change, good_up=True)}


def _trend(change: int, good_up: bool | None) -> dict[str, Any]:
    return {
        "trend": "up" if change > 0 else "down",
        "good": None if good_up is None else (change > 0) is good_up,
    }


def _of(part: int, whole: int) -> str:
    return _("%(part)s из %(whole)s", part=_number(part), whole=_number(whole))


def _signed(change: int, unit: str) -> str:
    sign = "+" if change > 0 else "−"
    return f"{sign}{_number(abs(change))}{formats.NBSP}{unit}"


def _locale() -> str:
    return str(get_locale() or "ru")


def _number(value: float | None) -> str:
    return "—" if value is None else formats.number(value, _locale())


def _percent(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{formats.decimal(value, 1, _locale())}{formats.NBSP}%"


def _time(seconds: float | None) -> str:
    return formats.duration(None if seconds is None else round(seconds), _locale())
