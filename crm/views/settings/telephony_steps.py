"""Steps of the connection wizard: their names, what each shows, which are done."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from flask import session
from flask_babel import LazyString
from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from crm.integrations.telephony import fingerprints
from crm.integrations.telephony.base import Capability, TelephonyOperator
from crm.models import Source, TelephonyConnection, db
from crm.operations import connections, telephony_lines, telephony_settings
from crm.reports import telephony_health
from crm.reports.telephony_health import Health
from crm.views.settings.employees import all_active

# Where the session keeps what was typed for a trial that came to nothing.
TRIAL_KEPT = "telephony_trial"


class Step(enum.StrEnum):
    """Where in the wizard one is."""

    ACCESS = "access"
    ADDRESS = "address"
    NUMBERS = "numbers"
    LINES = "lines"
    RULES = "rules"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class StepInfo:
    """How a step is called and what it is for."""

    step: Step
    label: LazyString
    about: LazyString


STEPS = (
    StepInfo(Step.ACCESS, _l("Доступ"), _l("Ключи из кабинета оператора")),
    StepInfo(Step.ADDRESS, _l("Адрес для АТС"), _l("Куда оператор присылает звонки")),
    StepInfo(Step.NUMBERS, _l("Сотрудники"), _l("Чей какой внутренний номер")),
    StepInfo(Step.LINES, _l("Линии"), _l("Какой номер — какая реклама")),
    StepInfo(Step.RULES, _l("Правила"), _l("Воронка, кому сделка, часы, перезвон")),
    StepInfo(Step.TRIAL, _l("Проверка"), _l("Пробный звонок")),
)
CAPABILITIES: tuple[tuple[Capability, LazyString], ...] = (
    (Capability.CLICK_TO_CALL, _l("звонок из CRM")),
    (Capability.RECORDINGS, _l("записи разговоров")),
    (Capability.HISTORY, _l("сверка с журналом оператора")),
    (Capability.EXTENSIONS, _l("список сотрудников")),
    (Capability.LINES, _l("список линий")),
    (Capability.SYNCHRONOUS_REPLY, _l("имя клиента на телефоне")),
    (Capability.SUBSCRIPTION, _l("подписка делается сама")),
    (Capability.STREAM, _l("постоянное соединение")),
)


def progress(connection: TelephonyConnection, health: Health) -> dict[str, bool]:
    """Which steps have what they need."""
    operator = connections.build(connection)
    return {
        Step.ACCESS: not operator.missing_credentials() and not connection.last_error,
        Step.ADDRESS: connection.last_event_at is not None,
        Step.NUMBERS: any(row.employee_id for row in connection.extensions),
        Step.LINES: any(line_source(row) for row in connection.lines),
        Step.RULES: connection.active,
        Step.TRIAL: health.calls > 0,
    }


def context_of(step: Step, connection: TelephonyConnection) -> dict[str, Any]:
    """What the step's part of the page needs."""
    operator = connections.build(connection)
    url = connections.webhook_url(connection)
    shared = {
        "operator": operator,
        "url": url,
        "can": {
            "load": Capability.EXTENSIONS in operator.capabilities,
            "lines": Capability.LINES in operator.capabilities,
            "history": Capability.HISTORY in operator.capabilities,
            "subscribe": Capability.SUBSCRIPTION in operator.capabilities,
            "dial": Capability.CLICK_TO_CALL in operator.capabilities,
            "stream": Capability.STREAM in operator.capabilities,
        },
        "abilities": [label for flag, label in CAPABILITIES if flag in operator.capabilities],
    }
    return shared | _PARTS[step](connection, operator, url)


def credential_fields(connection: TelephonyConnection) -> list[dict[str, Any]]:
    """Fields of the operator; a secret is told to be set, never shown."""
    fields = []
    for item in connections.build(connection).credentials:
        value = telephony_settings.stored(connection, item.name)
        fields.append(
            {
                "item": item,
                "is_set": bool(value),
                "value": "" if item.secret else value or item.default,
            }
        )
    return fields


def line_source(line: Any) -> Source | None:
    """The source that a line advertises: bound here, or by its own phone."""
    found: Source | None = line.source or telephony_lines.source_by_phone(line.key)
    return found


def _access(
    connection: TelephonyConnection, _operator: TelephonyOperator, _url: str
) -> dict[str, Any]:
    return {"credentials": credential_fields(connection)}


def _address(
    connection: TelephonyConnection, operator: TelephonyOperator, url: str
) -> dict[str, Any]:
    guess = None
    sketches = telephony_health.sketches(connection.id)
    if sketches:
        guess = fingerprints.overall(fingerprints.from_json(kept) for kept in sketches)
    return {
        "guide": [text.replace("{webhook_url}", url) for text in operator.setup_steps],
        "texts": [
            (item.title, item.text.replace("{webhook_url}", url)) for item in operator.setup_texts
        ],
        "guess": guess,
        "sketch_count": len(sketches),
    }


def _numbers(
    connection: TelephonyConnection, _operator: TelephonyOperator, _url: str
) -> dict[str, Any]:
    rows = sorted(connection.extensions, key=lambda row: (len(row.key), row.key))
    return {
        "employees": [(person.id, person.full_name) for person in all_active()],
        "extensions": rows,
    }


def _lines(
    connection: TelephonyConnection, _operator: TelephonyOperator, _url: str
) -> dict[str, Any]:
    sources = db.session.scalars(
        select(Source).where(Source.active, Source.is_system.is_(False)).order_by(Source.name)
    )
    rows = sorted(connection.lines, key=lambda row: row.number)
    return {
        "sources": [(source.id, source.name) for source in sources],
        "lines": [(row, telephony_lines.source_by_phone(row.key)) for row in rows],
    }


def _rules(
    _connection: TelephonyConnection, _operator: TelephonyOperator, _url: str
) -> dict[str, Any]:
    return {}


def _trial(
    connection: TelephonyConnection, _operator: TelephonyOperator, _url: str
) -> dict[str, Any]:
    owned = [row for row in connection.extensions if row.employee_id is not None]
    chosen, number = session.pop(TRIAL_KEPT, None) or (None, "")
    return {
        "extensions": sorted(owned, key=lambda row: (len(row.key), row.key)),
        "chosen": chosen,
        "number": number,
    }


_PARTS = {
    Step.ACCESS: _access,
    Step.ADDRESS: _address,
    Step.NUMBERS: _numbers,
    Step.LINES: _lines,
    Step.RULES: _rules,
    Step.TRIAL: _trial,
}
