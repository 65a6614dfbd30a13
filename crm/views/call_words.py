"""What pages and files say about a call."""

from __future__ import annotations

import datetime as dt

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.models import Call, Employee
from crm.reports.call_filters import minutes
from crm.reports.calls import CallRow
from crm.values.clock import utc_now
from crm.values.names import is_female
from crm.views.appeals import age

DIRECTIONS = {"in": _l("Входящий"), "out": _l("Исходящий"), "internal": _l("Внутренний")}
RESULTS = {
    "answered": _l("Состоялся разговор"),
    "missed": _l("Пропущен"),
    "busy": _l("Занято"),
    "cancelled": _l("Отменён"),
    "failed": _l("Не соединили"),
    "no_answer": _l("Не ответили"),
    "live": _l("Идёт сейчас"),
}
CALLBACKS = {
    "waiting": _l("Ждут звонка"),
    "late": _l("Просрочены"),
    "tried": _l("Не дозвонились"),
    "reached": _l("Перезвонили"),
}
PERIODS = {
    "today": _l("Сегодня"),
    "yesterday": _l("Вчера"),
    "7": _l("7 дней"),
    "30": _l("30 дней"),
    "month": _l("Этот месяц"),
}
# What a person is told who has dialled in vain.
_FAILURES = {
    "busy": _l("Занято"),
    "cancelled": _l("Звонок отменён"),
    "failed": _l("Не удалось соединить"),
    "no_answer": _l("Никто не ответил"),
}


def result(row: CallRow) -> str:
    """What came of a call."""
    call = row.call
    if row.missed:
        return str(RESULTS["missed"])
    if row.live:
        return _("Идёт разговор") if call.answered_at else _("Звонит")
    if call.answered_at is not None or call.talk or call.result == "answered":
        return str(RESULTS["answered"])
    known = RESULTS.get(call.result or "")
    return str(known) if known else _("Не дозвонились")


def callback(row: CallRow) -> str:
    """How the call back to a missed call stands; empty where there is nothing to say."""
    call = row.call
    if call.callback_due_at is None:
        return ""
    if row.waits:
        if row.late:
            return _("не перезвонили, просрочено %(time)s", time=since(call.callback_due_at))
        return _("ещё не перезвонили")
    after = _span(row.callback_after or dt.timedelta())
    if call.reached_at is None:
        return _("звонили через %(time)s, не дозвонились", time=after)
    return _("перезвонили через %(time)s", time=after)


def since(moment: dt.datetime) -> str:
    """How long ago, in one unit: «12 мин»."""
    return _span(utc_now() - moment)


def _span(time: dt.timedelta) -> str:
    """In one unit, never broken between lines; less than a minute is a minute."""
    return age(max(time, dt.timedelta(minutes=1))).replace(" ", "\N{NO-BREAK SPACE}")


def taken_by(colleague: Employee | None) -> str:
    """Who has answered a call that rang at others, too."""
    if colleague is None:
        return _("Идёт разговор")
    name, female = colleague.full_name, is_female(colleague.last_name)
    if female is None:
        return _("На связи %(name)s", name=name)
    return _("Ответила %(name)s", name=name) if female else _("Ответил %(name)s", name=name)


def typed(talk: int | None) -> str:
    """Seconds of talk as they are typed into the filter."""
    return minutes(talk) if talk is not None else ""


def failure(call_result: str) -> str:
    """Why nobody talked."""
    return str(_FAILURES.get(call_result, _FAILURES["no_answer"]))


def direction(call: Call) -> str:
    """Which way the call went; empty when the operator has not told."""
    return str(DIRECTIONS.get(call.direction or "", ""))
