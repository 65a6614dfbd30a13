"""Doors for requests from sites: address, snippet, domains, names of the site's own fields."""

from __future__ import annotations

import json
from typing import Any

from flask import current_app, flash, redirect, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import TextAreaField

from crm.models import Action, IntakePoint, Model
from crm.operations import intake_points
from crm.security.principal import current_principal
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.settings.fields import choice
from crm.views.settings.names import CHANNELS
from crm.views.widgets import TextAreaWidget

_FORM = [
    "name", "channel", "pipeline", "department", "source", "default_source", "responsible",
    "allowed_domains", "aliases", "honeypot", "uses_snippet", "require_signature",
    "allow_responsible", "allow_source", "active",
]  # fmt: skip


class AliasesField(TextAreaField):
    """``label of the site = field of ours``, one a line."""

    widget = TextAreaWidget()

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "\n".join(f"{label} = {target}" for label, target in (self.data or {}).items())

    def process_formdata(self, valuelist: list[str]) -> None:
        self.data = {}
        for line in (valuelist[0] if valuelist else "").splitlines():
            if not line.strip():
                continue
            label, sign, target = line.partition("=")
            if not sign or not label.strip() or not target.strip():
                raise ValueError(
                    _("Строка «%(line)s»: нужно «поле сайта = поле заявки».", line=line)
                )
            self.data[label.strip()] = target.strip()


class IntakePointView(CrmModelView):
    """`/settings/intake`."""

    route_base = "/settings/intake"
    class_permission_name = "IntakePoints"
    datamodel = CappedInterface(IntakePoint)
    include_route_methods = {
        "list", "show", "add", "edit", "delete", "rotate_key", "make_secret", "remove_secret",
    }  # fmt: skip
    intro = _l("Каждый сайт или сервис присылает заявки через свою точку: у неё свой адрес и ключ.")
    list_title, add_title = _l("Точки приёма заявок"), _l("Новая точка приёма")
    edit_title = show_title = _l("Точка приёма")
    edit_template = "settings/intake.html"
    list_columns = ["name", "channel", "pipeline", "department", "allowed_domains", "active"]
    add_columns = edit_columns = _FORM
    show_columns = [
        "name",
        "channel",
        "pipeline",
        "department",
        "source",
        "allowed_domains",
        "active",
    ]
    search_columns = ["name", "active"]
    order_columns = ["name", "active"]
    base_order = ("name", "asc")
    label_columns = {
        "name": _l("Название"),
        "channel": _l("Канал"),
        "pipeline": _l("Воронка"),
        "department": _l("Отдел"),
        "source": _l("Источник всегда"),
        "default_source": _l("Источник, если не определён"),
        "responsible": _l("Ответственный"),
        "allowed_domains": _l("Разрешённые домены"),
        "aliases": _l("Поля сайта"),
        "honeypot": _l("Поле-ловушка"),
        "uses_snippet": _l("На сайте стоит наш скрипт"),
        "require_signature": _l("Принимать только с подписью"),
        "allow_responsible": _l("Сайт может назвать ответственного"),
        "allow_source": _l("Сайт может назвать источник"),
        "active": _l("Принимает заявки"),
    }
    description_columns = {
        "pipeline": _l("Куда попадёт новая сделка. Пусто — воронка по умолчанию."),
        "department": _l("Пусто — заявка видна всем отделам."),
        "source": _l("Указан — метки и домен не проверяются."),
        "default_source": _l("Когда ни метки, ни домен ничего не сказали."),
        "responsible": _l("Пусто — заявка ничья, её берёт первый."),
        "allowed_domains": _l("По одному на строке; *.example.ru — все поддомены."),
        "honeypot": _l("Скрытое поле формы: человек его не видит, робот заполняет."),
        "uses_snippet": _l("Тогда заявка, отправленная быстрее трёх секунд, подозрительна."),
        "require_signature": _l("Для отправки с сервера. Формы в браузере подписать нельзя."),
    }
    add_form_extra_fields = edit_form_extra_fields = {
        "channel": choice(_l("Канал"), list(CHANNELS.items()), default="site_form"),
        "aliases": AliasesField(
            _l("Поля сайта"),
            description=_l(
                "По одному на строке: «как у сайта = как у нас», например «your-tel = phone». "
                "Наши поля: name, phone, email, comment, deal_type, listing_id, form_name."
            ),
        ),
    }
    formatters_columns = {"channel": lambda value: CHANNELS.get(value, value)}

    def after_save(self, item: Model) -> str:
        """Stay on the page: the address to copy is there."""
        return url_for("IntakePointView.edit", pk=item.id)

    def page_context(self, item: Model | None) -> dict[str, Any]:
        """Address, snippet and example."""
        if not isinstance(item, IntakePoint):
            return {}
        return {
            "address": address(item),
            "snippet": snippet(item),
            "example": example(item),
            "has_secret": bool(intake_points.secret(item)),
        }

    @expose("/<int:pk>/rotate", methods=["POST"])
    @requires("edit")
    def rotate_key(self, pk: int) -> Response:
        """A new address."""
        intake_points.rotate_key(pk, current_principal())
        flash(
            _("Ключ заменён. Поставьте на сайт новый адрес: прежний больше не работает."), "success"
        )
        return redirect(url_for("IntakePointView.edit", pk=pk))

    @expose("/<int:pk>/secret", methods=["POST"])
    @requires("edit")
    def make_secret(self, pk: int) -> str:
        """A new signing secret, shown on this answer only."""
        point = self._get_or_404(pk, Action.EDIT)
        made = intake_points.make_secret(pk, current_principal())
        return self.edit_page(point, fresh_secret=made)

    @expose("/<int:pk>/secret/delete", methods=["POST"])
    @requires("edit")
    def remove_secret(self, pk: int) -> Response:
        """No signature any more."""
        intake_points.remove_secret(pk, current_principal())
        flash(_("Секрет удалён."), "success")
        return redirect(url_for("IntakePointView.edit", pk=pk))


def address(point: IntakePoint) -> str:
    """Where the site sends requests."""
    return f"{current_app.config['PUBLIC_URL']}/api/v1/intake/{point.key}"


def snippet(point: IntakePoint) -> str:
    """The tag for the site's pages."""
    script = f"{current_app.config['PUBLIC_URL']}/static/intake.js"
    return str(Markup('<script src="{}" data-key="{}" async></script>').format(script, point.key))


def example(point: IntakePoint) -> str:
    """A trial request for the shell."""
    body = json.dumps({"name": "Проба", "phone": "+79120000000"}, ensure_ascii=False)
    return (
        f"curl -X POST {address(point)} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )
