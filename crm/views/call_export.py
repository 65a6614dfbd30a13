"""The list of calls as CSV."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from flask_babel import gettext as _

from crm.models import Call
from crm.reports.calls import CallRow
from crm.reports.company import company_zone
from crm.values import phones
from crm.views import call_words, csv_text


def lines(rows: Iterator[CallRow]) -> Iterator[str]:
    """The head and a line a call; numbers as the person may see them."""
    yield csv_text.MARK + csv_text.line((
        _("Дата"), _("Время"), _("Направление"), _("Результат"), _("Клиент"), _("Телефон"),
        _("Сотрудник"), _("Линия"), _("Источник"), _("Сделка"), _("Ожидание, с"),
        _("Разговор, с"), _("Обращение"), _("Перезвонили"), _("Подключение"),
    ))  # fmt: skip
    for row in rows:
        yield csv_text.line(_values(row))


def _values(row: CallRow) -> tuple[object, ...]:
    call, started = row.call, _local(row.call.started_at)
    return (
        f"{started:%Y-%m-%d}",
        f"{started:%H:%M:%S}",
        call_words.direction(call),
        call_words.result(row),
        row.name,
        row.number,
        call.employee.full_name if call.employee else "",
        phones.pretty(call.line_number),
        call.source.name if call.source else "",
        call.deal_id if row.deal_shown else "",
        int(row.wait.total_seconds()) if row.wait is not None else "",
        call.talk or 0,
        _repeat(call),
        f"{_local(call.called_back_at):%Y-%m-%d %H:%M}" if call.called_back_at else "",
        call.connection.name,
    )


def _repeat(call: Call) -> str:
    """First or not: of calls of clients alone."""
    if call.direction != "in":
        return ""
    return _("первое") if call.is_first else _("повторное")


def _local(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(company_zone())
