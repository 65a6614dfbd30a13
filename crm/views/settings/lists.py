"""Small settings tables: offices, departments, groups and tags of sources, reasons of refusal."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from markupsafe import Markup

from crm.models import Department, LossReason, Office, SourceGroup, Tag
from crm.operations import dictionaries, organization
from crm.values import phones
from crm.views.base import CappedInterface, CrmModelView
from crm.views.settings.fields import ColorField, choice
from crm.views.settings.names import DEPARTMENT_KINDS

# Importing them registers the rules of these tables with `crm.operations.records`.
RULES = (dictionaries, organization)


def shown_color(value: Any) -> Markup:
    """A swatch beside the code."""
    return Markup('<span class="kv-stage" style="--c:{}">{}</span>').format(value, value)


class OfficeView(CrmModelView):
    """`/settings/offices`."""

    route_base = "/settings/offices"
    class_permission_name = "Offices"
    datamodel = CappedInterface(Office)
    intro = _l("Места, где работают сотрудники. Офис с людьми нельзя удалить, только выключить.")
    list_title, add_title = _l("Офисы"), _l("Новый офис")
    edit_title = show_title = _l("Офис")
    list_columns = ["name", "address", "phone", "active"]
    show_columns = add_columns = edit_columns = list_columns
    search_columns = ["name", "address", "active"]
    order_columns = ["name", "active"]
    label_columns = {
        "name": _l("Название"),
        "address": _l("Адрес"),
        "phone": _l("Телефон"),
        "active": _l("Работает"),
    }
    formatters_columns = {"phone": phones.pretty}


class DepartmentView(CrmModelView):
    """`/settings/departments`."""

    route_base = "/settings/departments"
    class_permission_name = "Departments"
    datamodel = CappedInterface(Department)
    base_order = ("position", "asc")
    intro = _l(
        "К отделам привязаны сотрудники и источники. Удалить можно только пустой отдел; "
        "выключенный не предлагается в формах, а его сделки остаются."
    )
    list_title, add_title = _l("Отделы"), _l("Новый отдел")
    edit_title = show_title = _l("Отдел")
    list_columns = ["name", "kind", "position", "active"]
    add_columns = edit_columns = show_columns = [
        "name",
        "kind",
        "description",
        "position",
        "active",
    ]
    search_columns = ["name", "active"]
    order_columns = ["name", "kind", "position", "active"]
    label_columns = {
        "name": _l("Название"),
        "kind": _l("Направление работы"),
        "description": _l("Описание"),
        "position": _l("Порядок"),
        "active": _l("Работает"),
    }
    description_columns = {"position": _l("Меньшее число стоит выше.")}
    add_form_extra_fields = edit_form_extra_fields = {
        "kind": choice(_l("Направление работы"), list(DEPARTMENT_KINDS.items()))
    }
    formatters_columns = {"kind": lambda value: DEPARTMENT_KINDS.get(value, value)}


class SourceGroupView(CrmModelView):
    """`/settings/source-groups`."""

    route_base = "/settings/source-groups"
    class_permission_name = "SourceGroups"
    datamodel = CappedInterface(SourceGroup)
    intro = _l("Папки рекламных источников: по ним отчёты складывают похожие источники.")
    list_title, add_title = _l("Группы источников"), _l("Новая группа")
    edit_title = show_title = _l("Группа источников")
    list_columns = show_columns = add_columns = edit_columns = ["name"]
    search_columns = order_columns = ["name"]
    label_columns = {"name": _l("Название")}


class TagView(CrmModelView):
    """`/settings/tags`."""

    route_base = "/settings/tags"
    class_permission_name = "Tags"
    datamodel = CappedInterface(Tag)
    intro = _l("Цветные пометки на источниках: вид рекламы, подрядчик, кампания.")
    list_title, add_title = _l("Теги источников"), _l("Новый тег")
    edit_title = show_title = _l("Тег")
    list_columns = show_columns = add_columns = edit_columns = ["name", "color", "active"]
    search_columns = ["name", "active"]
    order_columns = ["name", "active"]
    label_columns = {"name": _l("Название"), "color": _l("Цвет"), "active": _l("Активен")}
    add_form_extra_fields = edit_form_extra_fields = {"color": ColorField(_l("Цвет"))}
    formatters_columns = {"color": shown_color}


class LossReasonView(CrmModelView):
    """`/settings/loss-reasons`."""

    route_base = "/settings/loss-reasons"
    class_permission_name = "LossReasons"
    datamodel = CappedInterface(LossReason)
    base_order = ("position", "asc")
    intro = _l("Спрашиваются при переносе сделки на этап «Отказ». По ним строится отчёт о потерях.")
    list_title, add_title = _l("Причины отказа"), _l("Новая причина")
    edit_title = show_title = _l("Причина отказа")
    list_columns = show_columns = add_columns = edit_columns = ["name", "position", "active"]
    search_columns = ["name", "active"]
    order_columns = ["name", "position", "active"]
    label_columns = {"name": _l("Причина"), "position": _l("Порядок"), "active": _l("Предлагается")}
    description_columns = {"position": _l("Меньшее число стоит выше.")}
