"""Employees: list, card, invitation, personal exceptions from the role, sign-ins."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from markupsafe import Markup
from sqlalchemy import select
from werkzeug.wrappers import Response
from wtforms import Field
from wtforms.validators import Optional

from crm.models import Action, Department, Employee, Model, Office, db
from crm.operations import invitations, staff
from crm.operations.errors import Conflict, ValidationErrors
from crm.operations.grant_values import LISTS, NUMBERS
from crm.reports import staff as staff_report
from crm.security.grants import CATALOGUE
from crm.security.principal import current_principal
from crm.values import phones
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.forms import VisibleSelectField
from crm.views.settings.fields import choice
from crm.views.widgets import DateWidget

_FORM = [
    "last_name", "first_name", "middle_name", "gender", "birth_date", "email", "phone", "roles",
    "position", "department", "office", "manager", "username", "on_shift",
]  # fmt: skip
_GENDERS = [("f", _l("женский")), ("m", _l("мужской"))]
_ROUTES = {
    "list", "show", "add", "edit", "invite", "deactivate", "activate", "grants", "extensions",
    "end_session", "end_sessions",
}  # fmt: skip


def _person(name: str) -> Markup:
    template = current_app.jinja_env.get_template("ui.html")
    shown: Markup = template.module.person(name)  # type: ignore[attr-defined]
    return shown


class DayField(Field):
    """Day of the calendar, ``1985-03-14`` or ``14.03.1985``."""

    widget = DateWidget()

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return self.data.isoformat() if self.data else ""

    def process_formdata(self, valuelist: list[str]) -> None:
        text = valuelist[0].strip() if valuelist else ""
        self.data = None
        if not text:
            return
        if "." in text:
            text = "-".join(reversed(text.split(".")))
        try:
            self.data = dt.date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(_("Введите дату, например 14.03.1985.")) from error


class EmployeeView(CrmModelView):
    """`/employees`."""

    route_base = "/employees"
    class_permission_name = "Employees"
    datamodel = CappedInterface(Employee)
    include_route_methods = _ROUTES
    list_title, add_title = _l("Персонал"), _l("Новый сотрудник")
    edit_title = show_title = _l("Сотрудник")
    list_template = "settings/employees.html"
    add_template = "settings/employee_new.html"
    edit_template = "settings/employee.html"
    show_template = "settings/employee_show.html"
    list_columns = [
        "full_name", "position", "department", "office", "roles", "manager", "on_shift", "active",
    ]  # fmt: skip
    add_columns = edit_columns = _FORM
    show_columns = [
        "full_name", "position", "department", "office", "manager", "phone", "email", "on_shift",
        "active",
    ]  # fmt: skip
    search_columns = [
        "last_name",
        "first_name",
        "email",
        "department",
        "office",
        "manager",
        "active",
    ]
    order_columns = ["position", "on_shift", "active"]
    base_order = ("last_name", "asc")
    label_columns = {
        "full_name": _l("Сотрудник"),
        "last_name": _l("Фамилия"),
        "first_name": _l("Имя"),
        "middle_name": _l("Отчество"),
        "gender": _l("Пол"),
        "birth_date": _l("Дата рождения"),
        "email": _l("Почта"),
        "phone": _l("Телефон"),
        "roles": _l("Роль"),
        "position": _l("Должность"),
        "department": _l("Отдел"),
        "office": _l("Офис"),
        "manager": _l("Руководитель"),
        "username": _l("Логин"),
        "on_shift": _l("На линии"),
        "active": _l("Работает"),
    }
    description_columns = {
        "username": _l("Проще всего — почта. Регистр букв не важен."),
        "manager": _l("Руководитель видит сделки подчинённых."),
        "on_shift": _l("Получает звонки и заявки, когда они распределяются."),
        "roles": _l("Несколько ролей складываются: действует самое широкое право."),
    }
    add_form_extra_fields = edit_form_extra_fields = {
        "gender": choice(_l("Пол"), _GENDERS, blank=True),
        "birth_date": DayField(_l("Дата рождения"), validators=[Optional()]),
        "department": VisibleSelectField(
            _l("Отдел"), Department, allow_blank=True, validators=[Optional()]
        ),
        "office": VisibleSelectField(_l("Офис"), Office, allow_blank=True, validators=[Optional()]),
    }
    formatters_columns = {
        "full_name": _person,
        "phone": phones.pretty,
        "email": lambda mail: Markup('<a href="mailto:{0}">{0}</a>').format(mail),
    }

    def store(self, item: Model, *, is_new: bool) -> None:
        """Hiring and changing have operations of their own."""
        (staff.hire if is_new else staff.update)(item, current_principal())

    def after_save(self, item: Model) -> str:
        """Stay on the card."""
        return url_for("EmployeeView.edit", pk=item.id)

    def page_context(self, item: Model | None) -> dict[str, Any]:
        """Extra permissions, internal numbers and sign-ins beside the form."""
        if not isinstance(item, Employee):
            return {}
        token = current_user.get_id().partition(".")[2]
        return {
            "lines": staff_report.grant_lines(item),
            "options": staff_report.grant_options(),
            "numbers": NUMBERS,
            "lists": LISTS,
            "sign_ins": staff_report.sign_ins(item.id, token),
            "extensions": staff_report.extensions_of(item.id),
            "typed": {},
            "errors": {},
            "hours": invitations.HOURS,
        }

    # --- acts on one person -------------------------------------------------------

    @expose("/<int:pk>/invite", methods=["POST"])
    @requires("edit")
    def invite(self, pk: int) -> str:
        """A one-time link, shown on this answer only."""
        person = self._get_or_404(pk, Action.EDIT)
        token = invitations.invite(pk, current_principal())
        path = url_for("InvitationView.accept", token=token)
        return self.edit_page(person, invitation=current_app.config["PUBLIC_URL"] + path)

    @expose("/<int:pk>/deactivate", methods=["POST"])
    @requires("edit")
    def deactivate(self, pk: int) -> Response:
        """Switch a person off at once."""
        return self._act(pk, staff.deactivate, _("Сотрудник отключён, его входы завершены."))

    @expose("/<int:pk>/activate", methods=["POST"])
    @requires("edit")
    def activate(self, pk: int) -> Response:
        """Take a person back."""
        return self._act(pk, staff.activate, _("Сотрудник снова работает."))

    @expose("/<int:pk>/sessions/end", methods=["POST"])
    @requires("edit")
    def end_sessions(self, pk: int) -> Response:
        """End all sign-ins."""
        return self._act(pk, staff.end_all_sessions, _("Все входы завершены."))

    @expose("/<int:pk>/sessions/<int:session_id>/end", methods=["POST"])
    @requires("edit")
    def end_session(self, pk: int, session_id: int) -> Response:
        """End one sign-in."""
        staff.end_session(pk, session_id, current_principal())
        flash(_("Вход завершён."), "success")
        return redirect(url_for("EmployeeView.edit", pk=pk))

    def _act(self, pk: int, act: Any, done: str) -> Response:
        try:
            act(pk, current_principal())
        except Conflict as error:
            flash(error.message, "danger")
        else:
            flash(done, "success")
        return redirect(url_for("EmployeeView.edit", pk=pk))

    @expose("/<int:pk>/grants", methods=["POST"])
    @requires("edit")
    def grants(self, pk: int) -> Response | str:
        """Personal exceptions from the role."""
        person = self._get_or_404(pk, Action.EDIT)
        choices = {info.code.value: _typed_grant(info.code) for info in CATALOGUE}
        try:
            staff.set_grants(pk, current_principal(), choices)
        except ValidationErrors as error:
            return self.edit_page(person, errors=_by_field(error), typed=choices)
        flash(_("Дополнительные права сохранены."), "success")
        return redirect(url_for("EmployeeView.edit", pk=pk) + "#grants")

    @expose("/<int:pk>/extensions", methods=["POST"])
    @requires("edit")
    def extensions(self, pk: int) -> Response | str:
        """Internal numbers at the operators."""
        person = self._get_or_404(pk, Action.EDIT)
        typed = {
            int(name.removeprefix("extension-")): text
            for name, text in request.form.items()
            if name.removeprefix("extension-").isdecimal() and len(name) < 20  # noqa: PLR2004
        }
        try:
            staff.set_extensions(pk, current_principal(), typed)
        except ValidationErrors as error:
            kept = [(one, typed.get(one.id, "")) for one, _n in staff_report.extensions_of(pk)]
            return self.edit_page(person, errors=_by_field(error), extensions=kept)
        flash(_("Внутренние номера сохранены."), "success")
        return redirect(url_for("EmployeeView.edit", pk=pk) + "#numbers")


def _typed_grant(code: str) -> tuple[str, Any]:
    name = f"grant-{code}"
    values = request.form.getlist(f"{name}-value")
    return request.form.get(name, staff.ROLE), values if code in LISTS else "".join(values[:1])


def _by_field(error: ValidationErrors) -> dict[str, str]:
    return {complaint.field: complaint.message for complaint in error.errors}


def all_active() -> list[Employee]:
    """People who may be chosen in a box, by name."""
    query = (
        select(Employee).where(Employee.active).order_by(Employee.last_name, Employee.first_name)
    )
    return list(db.session.scalars(query))
