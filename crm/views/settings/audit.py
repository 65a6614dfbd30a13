"""The journal of changes: who, what, when, before and after."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

from crm.models import AuditEntry, Employee, db
from crm.reports import audit_log
from crm.reports.company import company_zone
from crm.views.base import CrmView, expose, requires

OBJECTS: dict[str, LazyString] = {
    "deal": _l("Сделка"),
    "contact": _l("Контакт"),
    "task": _l("Задача"),
    "appeal": _l("Обращение"),
    "call": _l("Звонок"),
    "comment": _l("Комментарий"),
    "listing": _l("Объект"),
    "ab_user": _l("Сотрудник"),
    "ab_role": _l("Роль"),
    "company": _l("Компания"),
    "office": _l("Офис"),
    "department": _l("Отдел"),
    "pipeline": _l("Воронка"),
    "stage": _l("Этап"),
    "stage_status": _l("Статус"),
    "required_field": _l("Обязательное поле"),
    "loss_reason": _l("Причина отказа"),
    "source": _l("Источник"),
    "source_group": _l("Группа источников"),
    "tag": _l("Тег"),
    "telephony_connection": _l("Телефония"),
    "intake_point": _l("Точка приёма"),
    "inbound_delivery": _l("Доставка"),
    "feed": _l("Фид"),
    "feed_run": _l("Выпуск фида"),
    "import_feed": _l("Импорт"),
    "saved_view": _l("Вид списка"),
}
ACTIONS: dict[str, LazyString] = {
    "create": _l("создание"),
    "update": _l("изменение"),
    "delete": _l("удаление"),
    "login": _l("вход"),
    "logout": _l("выход"),
    "login_failed": _l("неудачный вход"),
    "password_change": _l("смена своего пароля"),
    "password_set": _l("установка пароля"),
    "invite": _l("приглашение"),
    "roles": _l("смена ролей"),
    "grants": _l("личные права"),
    "extensions": _l("внутренние номера"),
    "session_end": _l("завершение входа"),
    "deactivate": _l("отключение"),
    "activate": _l("включение"),
    "rotate_key": _l("замена ключа"),
    "rotate_secret": _l("замена секрета"),
    "remove_secret": _l("удаление секрета"),
    "rotate_token": _l("замена адреса"),
    "lines": _l("линии и источники"),
    "history": _l("сверка звонков"),
    "trial_call": _l("пробный звонок"),
    "credentials": _l("данные доступа"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One changed value."""

    name: str
    before: str
    after: str


class AuditView(CrmView):
    """`/settings/audit`."""

    route_base = "/settings/audit"
    class_permission_name = "Audit"

    @expose("/", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Entries by filters, newest first."""
        wanted = _wanted()
        page = audit_log.entries(
            wanted, company_zone(), request.args.get("after", ""), request.args.get("before", "")
        )
        actor = db.session.get(Employee, wanted.actor_id) if wanted.actor_id else None
        return self.page(
            "settings/audit.html",
            entries=[(entry, differences(entry)) for entry in page.entries],
            wanted=wanted,
            actor=actor,
            objects=OBJECTS,
            actions=ACTIONS,
            newer=_link(before=page.previous),
            older=_link(after=page.following),
        )


def differences(entry: AuditEntry) -> list[Difference]:
    """Changed values, those of a new or deleted record included."""
    before, after = entry.before or {}, entry.after or {}
    names = list(dict.fromkeys([*before, *after]))
    return [
        Difference(name, _text(before.get(name)), _text(after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return "—"
    if isinstance(value, bool):
        return str(_l("да") if value else _l("нет"))
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(one)}" for key, one in value.items())
    return str(value)


def _wanted() -> audit_log.AuditFilter:
    args = request.args
    return audit_log.AuditFilter(
        actor_id=_number(args.get("actor", "")),
        object_type=args.get("object", "") if args.get("object") in OBJECTS else "",
        object_id=_number(args.get("id", "")),
        action=args.get("action", "") if args.get("action") in ACTIONS else "",
        since=_day(args.get("since", "")),
        until=_day(args.get("until", "")),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) < 2**31 else None


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _link(**key: str) -> str | None:
    """Address of a neighbouring page with the same filters."""
    if not any(key.values()):
        return None
    kept = {
        name: value
        for name, value in request.args.items()
        if name not in ("after", "before") and value
    }
    return f"{request.path}?{urlencode({**kept, **key})}"
