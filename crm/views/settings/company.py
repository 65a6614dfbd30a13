"""The agency's own data: one row, so the list leads straight to its form."""

from __future__ import annotations

from flask import abort, flash, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from werkzeug.wrappers import Response

from crm.models import Company, Model, db
from crm.operations import files, organization
from crm.operations.errors import ValidationErrors
from crm.reports.company import company
from crm.security.principal import current_principal
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.settings.fields import ClockField, DaysField, choice
from crm.views.settings.names import WEEKDAYS
from crm.views.settings.zones import RUSSIAN_ZONES

_FIELDS = [
    "name", "ogrn_name", "phone", "email", "site", "address", "policy_url", "timezone", "city",
    "city_code", "work_start", "work_end", "work_days", "request_limit_minutes",
    "call_limit_minutes", "task_result_required", "show_contacts_in_own_deals",
]  # fmt: skip


class CompanyView(CrmModelView):
    """`/settings/company`."""

    route_base = "/settings/company"
    class_permission_name = "Companies"
    datamodel = CappedInterface(Company)
    include_route_methods = {"list", "show", "edit", "logo_file", "logo", "delete_logo"}
    list_columns = ["name", "phone", "address"]
    show_columns = _FIELDS
    edit_columns = _FIELDS
    add_columns = ["name"]
    search_columns = ["name"]
    order_columns = ["name"]
    edit_title = show_title = list_title = _l("Компания")
    edit_template = "settings/company.html"
    show_template = "settings/company_show.html"
    label_columns = {
        "name": _l("Название"),
        "ogrn_name": _l("Наименование по ОГРН"),
        "phone": _l("Телефон"),
        "email": _l("Почта отправителя"),
        "site": _l("Сайт"),
        "address": _l("Адрес"),
        "policy_url": _l("Политика обработки данных"),
        "timezone": _l("Часовой пояс"),
        "city": _l("Город"),
        "city_code": _l("Код города"),
        "work_start": _l("Начало рабочего дня"),
        "work_end": _l("Конец рабочего дня"),
        "work_days": _l("Рабочие дни"),
        "request_limit_minutes": _l("Срок разбора заявки, минут"),
        "call_limit_minutes": _l("Срок разбора звонка, минут"),
        "task_result_required": _l("Результат задачи обязателен"),
        "show_contacts_in_own_deals": _l("Показывать контакты в своих сделках"),
    }
    description_columns = {
        "ogrn_name": _l("Нужно для фида Яндекс Недвижимости: без него фид не включить."),
        "phone": _l("Общий номер для всех площадок. Пусто — телефон ответственного за объект."),
        "policy_url": _l("Ссылка в формах заявок и на страницах для клиентов."),
        "city_code": _l("Дополняет городские номера без кода, например 3452."),
        "work_end": _l("К этому часу ставится задача без времени."),
        "request_limit_minutes": _l("Позже незаведённая заявка становится красной."),
        "call_limit_minutes": _l("Позже незаведённый отвеченный звонок становится красным."),
        "task_result_required": _l("Завершить задачу можно, только написав, чем она кончилась."),
        "show_contacts_in_own_deals": _l(
            "Действует для тех, кому видны только свои контакты и контакты коллег."
        ),
    }
    edit_form_extra_fields = {
        "timezone": choice(_l("Часовой пояс"), RUSSIAN_ZONES),
        "work_start": ClockField(_l("Начало рабочего дня")),
        "work_end": ClockField(
            _l("Конец рабочего дня"), description=_l("К этому часу ставится задача без времени.")
        ),
        "work_days": DaysField(_l("Рабочие дни"), lambda: WEEKDAYS),
    }
    add_form_extra_fields = edit_form_extra_fields

    @expose("/list/")
    @requires("list")
    def list(self) -> Response:
        """Straight to the only row."""
        may_edit = current_principal().may_open("can_edit", "Companies")
        return redirect(url_for(f"CompanyView.{'edit' if may_edit else 'show'}", pk=_only_id()))

    def after_save(self, item: Model) -> str:
        """Stay on the form."""
        return url_for("CompanyView.edit", pk=item.id)

    @expose("/logo", methods=["GET"])
    @requires("list")
    def logo_file(self) -> Response:
        """The picture itself."""
        stored = organization.logo_file(company())
        if stored is None:
            abort(404)
        answer = Response(files.read_bytes(stored), content_type=stored.content_type)
        answer.headers["Content-Disposition"] = "inline"
        return answer

    @expose("/logo", methods=["POST"])
    @requires("edit")
    def logo(self) -> Response:
        """Replace the logo."""
        upload = request.files.get("logo")
        data = b""
        if upload is not None:
            data = upload.stream.read(organization.MAX_LOGO_BYTES + 1)
            upload.close()
        try:
            organization.set_logo(_only_id(), data, current_principal())
        except ValidationErrors as error:
            flash(error.message, "danger")
        else:
            flash(_("Логотип сохранён."), "success")
        return redirect(url_for("CompanyView.edit", pk=_only_id()))

    @expose("/logo/delete", methods=["POST"])
    @requires("edit")
    def delete_logo(self) -> Response:
        """Go back to the name as text."""
        organization.remove_logo(_only_id(), current_principal())
        flash(_("Логотип удалён."), "success")
        return redirect(url_for("CompanyView.edit", pk=_only_id()))


def _only_id() -> int:
    return db.session.scalars(select(Company.id).order_by(Company.id).limit(1)).one()
