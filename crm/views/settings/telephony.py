"""Telephony connections: credentials, the address for the operator, internal numbers."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from crm.integrations.telephony import registry
from crm.integrations.telephony.base import Capability, OperatorError
from crm.models import Action, Model, TelephonyConnection
from crm.operations import connections, telephony_settings
from crm.operations.errors import ValidationErrors
from crm.security.principal import current_principal
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.settings.employees import all_active
from crm.views.settings.fields import choice

_FORM = [
    "name",
    "operator",
    "pipeline",
    "department",
    "default_source",
    "ignored_numbers",
    "active",
]
_ROUTES = {
    "list", "show", "add", "edit", "delete", "credentials", "rotate", "check", "extensions",
    "load_extensions",
}  # fmt: skip


def _operators() -> list[tuple[str, str]]:
    return [(one.slug, one.title) for one in registry.all_operators()]


class TelephonyView(CrmModelView):
    """`/settings/telephony`."""

    route_base = "/settings/telephony"
    class_permission_name = "Telephony"
    datamodel = CappedInterface(TelephonyConnection)
    include_route_methods = _ROUTES
    intro = _l("Подключения к операторам: звонки приходят в CRM, источник определяется по номеру.")
    list_title, add_title = _l("Телефония"), _l("Новое подключение")
    edit_title = show_title = _l("Подключение")
    add_template = "settings/telephony_new.html"
    edit_template = "settings/telephony.html"
    list_columns = [
        "name",
        "operator",
        "pipeline",
        "department",
        "last_event_at",
        "last_error",
        "active",
    ]
    show_columns = ["name", "operator", "pipeline", "department", "last_event_at", "active"]
    add_columns = edit_columns = _FORM
    search_columns = ["name", "active"]
    order_columns = ["name", "last_event_at", "active"]
    base_order = ("name", "asc")
    label_columns = {
        "name": _l("Название"),
        "operator": _l("Оператор"),
        "pipeline": _l("Воронка"),
        "department": _l("Отдел"),
        "default_source": _l("Источник, если не определён"),
        "ignored_numbers": _l("Не учитывать номера"),
        "active": _l("Принимает звонки"),
        "last_event_at": _l("Последнее событие"),
        "last_error": _l("Последняя ошибка"),
    }
    description_columns = {
        "pipeline": _l("Где появится сделка от звонка. Пусто — воронка по умолчанию."),
        "default_source": _l("Когда набранный номер не указан ни у одного источника."),
        "ignored_numbers": _l(
            "Через запятую: свои линии, курьеры, спам. Сделки по ним не заводятся."
        ),
    }
    add_form_extra_fields = edit_form_extra_fields = {
        "operator": choice(_l("Оператор"), _operators),
    }
    formatters_columns = {"operator": lambda slug: dict(_operators()).get(slug, slug)}

    def after_save(self, item: Model) -> str:
        """Stay on the page: credentials and the address are there."""
        return url_for("TelephonyView.edit", pk=item.id)

    def page_context(self, item: Model | None) -> dict[str, Any]:
        """What the operator asks for, the address, and whose internal numbers are whose."""
        if not isinstance(item, TelephonyConnection):
            return {}
        kind = telephony_settings.operator_class(item)
        url = connections.webhook_url(item)
        return {
            "operator": kind,
            "credentials": _credentials(item),
            "url": url,
            "steps": [step.replace("{webhook_url}", url) for step in kind.setup_steps],
            "can_load": Capability.EXTENSIONS in kind.capabilities,
            "employees": [(person.id, person.full_name) for person in all_active()],
            "extensions": sorted(item.extensions, key=lambda row: (len(row.key), row.key)),
            "errors": {},
            "typed": {},
        }

    @expose("/<int:pk>/credentials", methods=["POST"])
    @requires("edit")
    def credentials(self, pk: int) -> Response | str:
        """Keep the operator's keys; blank secrets stay as they are."""
        connection = self._get_or_404(pk, Action.EDIT)
        typed = {
            name.removeprefix("credential-"): text
            for name, text in request.form.items()
            if name.startswith("credential-")
        }
        try:
            telephony_settings.set_credentials(pk, current_principal(), typed)
        except ValidationErrors as error:
            return self.edit_page(
                connection, errors=_by_field(error), typed=_plain(connection, typed)
            )
        flash(_("Доступ сохранён. Проверьте подключение."), "success")
        return redirect(url_for("TelephonyView.edit", pk=pk))

    @expose("/<int:pk>/rotate", methods=["POST"])
    @requires("edit")
    def rotate(self, pk: int) -> Response:
        """A new secret address."""
        connections.rotate_token(pk, current_principal())
        flash(
            _("Адрес заменён. Вставьте новый в кабинете оператора: прежний не работает."), "success"
        )
        return redirect(url_for("TelephonyView.edit", pk=pk))

    @expose("/<int:pk>/check", methods=["POST"])
    @requires("edit")
    def check(self, pk: int) -> Response:
        """Try the settings against the live operator."""
        self._get_or_404(pk, Action.EDIT)
        result = connections.check(pk)
        flash(result.message, "success" if result.ok else "danger")
        return redirect(url_for("TelephonyView.edit", pk=pk))

    @expose("/<int:pk>/extensions", methods=["POST"])
    @requires("edit")
    def extensions(self, pk: int) -> Response:
        """Whose each internal number is, and a new one."""
        owners = {
            name.removeprefix("owner-"): _number(value)
            for name, value in request.form.items()
            if name.startswith("owner-")
        }
        added = request.form.get("new-key", "").strip()
        if added:
            owners[added[:64]] = _number(request.form.get("new-owner", ""))
        try:
            telephony_settings.save_extensions(pk, current_principal(), owners)
        except ValidationErrors as error:
            flash(error.message, "danger")
        else:
            flash(_("Внутренние номера сохранены."), "success")
        return redirect(url_for("TelephonyView.edit", pk=pk) + "#numbers")

    @expose("/<int:pk>/extensions/load", methods=["POST"])
    @requires("edit")
    def load_extensions(self, pk: int) -> Response:
        """Ask the operator for its internal numbers."""
        connection = connections.find(pk)
        try:
            found = connections.build(connection).extensions()
        except OperatorError as error:
            flash(error.message, "danger")
        else:
            new = telephony_settings.merge_extensions(pk, current_principal(), found)
            flash(
                _("Получено номеров: %(all)s, новых: %(new)s.", all=len(found), new=new), "success"
            )
        return redirect(url_for("TelephonyView.edit", pk=pk) + "#numbers")


def _credentials(connection: TelephonyConnection) -> list[dict[str, Any]]:
    """Fields of the operator; a secret is told to be set, never shown."""
    fields = []
    for item in telephony_settings.operator_class(connection).credentials:
        value = telephony_settings.stored(connection, item.name)
        fields.append(
            {
                "item": item,
                "is_set": bool(value),
                "value": "" if item.secret else value or item.default,
            }
        )
    return fields


def _plain(connection: TelephonyConnection, typed: dict[str, str]) -> dict[str, str]:
    """What was typed, without secrets: they are not sent back even when refused."""
    declared = telephony_settings.operator_class(connection).credentials
    return {item.name: typed.get(item.name, "") for item in declared if not item.secret}


def _by_field(error: ValidationErrors) -> dict[str, str]:
    return {complaint.field: complaint.message for complaint in error.errors}


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
