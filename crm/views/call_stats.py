"""Statistics of calls: figures, charts and tables of a period, and the tables as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, abort, stream_with_context
from flask_babel import get_locale
from flask_babel import gettext as _

from crm.models import ObjectKind, Scope
from crm.operations.errors import ValidationErrors
from crm.reports import call_stats as report
from crm.reports import calls, periods, stat_limits, stat_names
from crm.reports.call_stats import Row, StatsFilter
from crm.reports.company import local_today
from crm.reports.periods import Period
from crm.reports.stat_names import Names
from crm.security.principal import Principal, current_principal
from crm.values import formats, phones
from crm.views import arguments, csv_text
from crm.views import call_stats_texts as texts
from crm.views.access import requires
from crm.views.base import CrmView, expose

# More lines than this nobody reads on a page; the file has all of them.
MOST_ROWS = 50


class CallStatsView(CrmView):
    """``/calls/stats``."""

    route_base = "/calls/stats"
    class_permission_name = "CallStats"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Everything about the calls of a period that the person may see."""
        principal, wanted, period = current_principal(), read_filter(), read_period()
        refusal = refusal_of(period)
        stats = None if refusal else report.overview(principal, wanted, period)
        names = _names(principal, wanted, stats.tables if stats else {})
        limits = stat_limits.of(principal)
        return self.page(
            "calls/stats.html",
            wanted=wanted,
            period=period,
            refusal=refusal,
            stats=stats,
            names=names,
            departments=[
                (pk, name) for pk, name in names.department.items() if limits.offers_department(pk)
            ],
            limited=limits.sources is not None or limits.departments is not None,
            sees_calls=principal.scope(ObjectKind.CALL) is not Scope.NONE,
            lines=calls.lines(principal),
            periods=[_segment(name, period) for name in periods.NAMES],
            dates=_dates(period),
            dates_before=_dates(period.before()),
            kpis=texts.kpis(stats.now, stats.before) if stats else [],
            columns=texts.COLUMNS,
            tables=_tables(principal, wanted, period, stats.tables, names) if stats else [],
            most_rows=MOST_ROWS,
            hours=report.shown_hours(stats.hours) if stats else [],
            heat_days=report.HEAT_MAP_DAYS,
            weekdays=_weekdays(),
            link=arguments.link,
            day_link=_day_link(principal, wanted),
        )

    @expose("/export", methods=["GET"])
    @requires("list")
    def export(self) -> Response:
        """One of the tables as CSV, whole: ``?table=employee`` and the page's filter."""
        principal, wanted, period = current_principal(), read_filter(), read_period()
        name = arguments.choice("table", report.TABLES)
        if not name:
            abort(404)
        if refusal := refusal_of(period):
            raise ValidationErrors.one("to", refusal)
        rows = report.table(principal, wanted, period, name)
        names = _names(principal, wanted, {name: rows})
        file = f"zvonki-{name}-{period.first.isoformat()}-{period.last.isoformat()}.csv"
        return Response(
            stream_with_context(_csv(name, rows, names)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{file}"'},
        )


# --- address ----------------------------------------------------------------------------


def read_filter() -> StatsFilter:
    """The filter written in the address."""
    return StatsFilter(
        department_id=arguments.number("department"),
        employee_id=arguments.number("employee"),
        source_id=arguments.number("source"),
        connection_id=arguments.number("connection"),
        line=arguments.text("line", 32),
        direction=arguments.choice("direction", ("in", "out")),
        first=arguments.choice("first", ("first", "repeat")),
        with_excluded=arguments.choice("excluded", ("y",)) == "y",
    )


def read_period() -> Period:
    """The period written in the address, the last 30 days without one."""
    name = arguments.choice("period", periods.NAMES)
    return periods.read(name, arguments.day("from"), arguments.day("to"), local_today())


def refusal_of(period: Period) -> str:
    """Why the period cannot be counted, in words; "" when it can."""
    if not period.length:
        return _("Период заканчивается раньше, чем начинается. Поправьте даты.")
    if period.length > report.LONGEST_DAYS:
        return _(
            "Период длиннее %(days)s дней: столько за один раз не посчитать. Выберите короче.",
            days=report.LONGEST_DAYS,
        )
    return ""


def _segment(name: str, chosen: Period) -> dict[str, Any]:
    own = name == periods.OWN
    dates = {"from": chosen.first.isoformat(), "to": chosen.last.isoformat()}
    changes: dict[str, str | None] = dict(dates) if own else dict.fromkeys(dates)
    return {
        "label": texts.period_label(name),
        "href": arguments.link(period=None if name == periods.DEFAULT else name, **changes),
        "active": name == chosen.name,
    }


# --- texts ------------------------------------------------------------------------------


def _names(principal: Principal, wanted: StatsFilter, tables: dict[str, list[Row]]) -> Names:
    """Names of everything in the tables and of what was chosen in the filter."""
    keys = {name: {row.key for row in rows} for name, rows in tables.items()}
    sources = {row.source_id for row in tables.get("line", [])} | keys.get("source", set())
    return stat_names.load(
        principal,
        _ids(keys.get("employee", set()) | {wanted.employee_id}),
        _ids(sources | {wanted.source_id}),
    )


def _ids(keys: set[Any]) -> set[int]:
    return {key for key in keys if isinstance(key, int)}


def _dates(period: Period) -> str:
    locale, today = str(get_locale() or "ru"), local_today()
    first = formats.date(period.first, locale, today=today)
    last = formats.date(period.last, locale, today=today)
    return first if period.length <= 1 else f"{first} – {last}"


def _weekdays() -> list[tuple[str, str]]:
    """Short and whole names, Monday first."""
    named = get_locale().days["stand-alone"]
    return [(named["abbreviated"][day], named["wide"][day]) for day in range(7)]


# --- tables -----------------------------------------------------------------------------


def _tables(
    principal: Principal,
    wanted: StatsFilter,
    period: Period,
    tables: dict[str, list[Row]],
    names: Names,
) -> list[dict[str, Any]]:
    base = _list_arguments(wanted) | {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
    }
    linked = principal.may_open("can_list", "Calls")
    return [
        {
            "code": name,
            "title": texts.table_title(name),
            "head": texts.table_head(name),
            "count": len(rows),
            "most": max((row.figures.incoming for row in rows), default=0),
            "rows": [
                {
                    "label": texts.row_label(name, row, names),
                    "note": texts.row_note(name, row, names),
                    "figures": row.figures,
                    "links": _links(base, name, row)
                    if linked and _has_name(name, row, names)
                    else {},
                }
                for row in rows[:MOST_ROWS]
            ],
            "export_url": _export_url(name),
        }
        for name, rows in tables.items()
    ]


def _has_name(table: str, row: Row, names: Names) -> bool:
    """Whether the list of calls can be narrowed to the line of the table."""
    return bool(row.key) and (table == "line" or row.key in getattr(names, table))


def _export_url(name: str) -> str:
    query = arguments.link(table=name).partition("?")[2]
    return f"/calls/stats/export?{query}"


def _list_arguments(wanted: StatsFilter) -> dict[str, str]:
    """The same filter as the list of calls reads it."""
    values = {
        "department": wanted.department_id,
        "employee": wanted.employee_id,
        "source": wanted.source_id,
        "connection": wanted.connection_id,
        "line": wanted.line,
        "direction": wanted.direction,
        "first": wanted.first,
    }
    return {name: str(value) for name, value in values.items() if value}


def _links(base: dict[str, str], table: str, row: Row) -> dict[str, str]:
    """Addresses of the calls behind each number of a line."""
    own = {**base, table: str(row.key)}
    urls = {code: texts.calls_url({**own, **more}) for code, more in texts.CALLS_OF.items()}
    if "employee" in own and row.figures.missed:
        # The list finds a person's missed calls apart from those that he took.
        urls = {code: url for code, url in urls.items() if code not in ("incoming", "first")}
    return urls


def _day_link(principal: Principal, wanted: StatsFilter) -> Any:
    """Address of the calls of one day, for those who may open the list."""
    if not principal.may_open("can_list", "Calls"):
        return lambda _day: ""
    base = _list_arguments(wanted)
    return lambda day: texts.calls_url({**base, "from": day.isoformat(), "to": day.isoformat()})


def _csv(table: str, rows: list[Row], names: Names) -> Iterator[str]:
    heads: list[str] = [texts.table_head(table)]
    if table == "line":
        heads.append(_("Источник"))
    yield csv_text.MARK + csv_text.line([*heads, *(str(column.title) for column in texts.EXPORTED)])
    for row in rows:
        cells: list[Any] = [_csv_label(table, row, names)]
        if table == "line":
            cells.append(texts.row_note(table, row, names))
        values = (getattr(row.figures, column.code) for column in texts.EXPORTED)
        yield csv_text.line([*cells, *(_plain(value) for value in values)])


def _csv_label(table: str, row: Row, names: Names) -> str:
    """A line is named by its digits alone: a plus at the beginning would be disarmed."""
    if table == "line" and row.key:
        return phones.digits(str(row.key)) or str(row.key)
    return texts.row_label(table, row, names)


def _plain(value: Any) -> Any:
    """Numbers as a Russian spreadsheet reads them; nothing where there is nothing to tell."""
    if value is None:
        return ""
    return f"{value:.1f}".replace(".", ",") if isinstance(value, float) else value
