"""Fields of FAB's forms in our mark-up: no inline script, no text box showing a stored file name.

The scripts that enliven them are ``static/js/enhance.js`` and ``static/js/lists.js``.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from flask import render_template, request
from flask_appbuilder import forms as fab_forms
from flask_appbuilder.baseviews import BaseModelView
from flask_appbuilder.forms import FieldConverter
from flask_appbuilder.security.sqla.models import PermissionView
from flask_appbuilder.widgets import SearchWidget
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from wtforms import BooleanField, DecimalField, Field, widgets

from crm.reports.company import company_zone
from crm.values.clock import is_believable
from crm.views.labels import permission_label, view_label

# --- fields -------------------------------------------------------------------


class LocalDateTimeField(Field):
    """Moment typed and shown in the company's time zone, kept as an aware moment in UTC.

    Wire format: ISO 8601 without an offset, ``2026-11-23 14:05:00``.
    """

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        if self.data is None:
            return ""
        return f"{self.data.astimezone(company_zone()):%Y-%m-%d %H:%M:%S}"

    def process_formdata(self, valuelist: list[str]) -> None:
        text = valuelist[0].strip() if valuelist else ""
        self.data = None
        if not text:
            return
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(_("Введите дату и время, например 23.11.2026 14:05.")) from error
        if not is_believable(moment):
            raise ValueError(_("Такой даты не бывает."))
        local = moment if moment.tzinfo else moment.replace(tzinfo=company_zone())
        self.data = local.astimezone(dt.UTC)


class LocalDecimalField(DecimalField):
    """Number as Russians type it: comma or point, spaces between thousands."""

    data: Decimal | None

    def process_formdata(self, valuelist: list[str]) -> None:
        cleaned = ["".join(value.split()).replace(",", ".") for value in valuelist]
        super().process_formdata(cleaned)
        if self.data is not None and not self.data.is_finite():
            self.data = None
            raise ValueError(_("Введите число."))


# --- widgets ------------------------------------------------------------------


class TextWidget(widgets.TextInput):
    """One line. No label repeated inside the box."""

    def __init__(self, inputmode: str | None = None) -> None:
        super().__init__()
        self.inputmode = inputmode

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("class_", "form-control")
        if self.inputmode:
            kwargs.setdefault("inputmode", self.inputmode)
        return super().__call__(field, **kwargs)


class IntegerWidget(TextWidget):
    """Whole number: digits on the phone's keyboard."""

    def __init__(self) -> None:
        super().__init__("numeric")


class DecimalWidget(TextWidget):
    """Number with a fraction."""

    def __init__(self) -> None:
        super().__init__("decimal")


class TextAreaWidget(widgets.TextArea):
    """Several lines."""

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("class_", "form-control")
        kwargs.setdefault("rows", 4)
        return super().__call__(field, **kwargs)


class _CalendarWidget(TextWidget):
    """Text box that opens a calendar; sends ISO 8601."""

    mark = "data_date"

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs[self.mark] = True
        kwargs.setdefault("autocomplete", "off")
        icon = Markup('<i class="ti ti-calendar" aria-hidden="true"></i>')
        box = super().__call__(field, **kwargs)
        return Markup('<div class="kv-input-icon">{}{}</div>').format(icon, box)


class DateWidget(_CalendarWidget):
    """Day: ``2026-11-23``."""


class DateTimeWidget(_CalendarWidget):
    """Moment: ``2026-11-23 14:05:00``."""

    mark = "data_datetime"


class SwitchWidget(widgets.CheckboxInput):
    """Yes or no as a switch."""

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("role", "switch")
        kwargs.pop("class_", None)
        return super().__call__(field, **kwargs)


class FileWidget(widgets.FileInput):
    """File to send; a stored one can be marked for removal."""

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("class_", "form-control")
        box = super().__call__(field, **kwargs)
        if not isinstance(field.data, str) or not field.data:
            return Markup('<div class="kv-file">{}</div>').format(box)
        return Markup(
            '<div class="kv-file">{}<label class="kv-check-line">'
            '<input type="checkbox" name="_{}-delete" value="y">{}</label></div>'
        ).format(box, field.name, _("Удалить нынешний файл"))


class ImageWidget(FileWidget):
    """Picture to send."""

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("accept", "image/*")
        return super().__call__(field, **kwargs)


class SelectWidget(widgets.Select):
    """Box of a small table; made searchable in the browser."""

    def __init__(self, **_looks: Any) -> None:
        # FAB passes classes and styles; looks are a matter of the style sheet.
        super().__init__()

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        kwargs.setdefault("class_", "form-select")
        return super().__call__(field, **kwargs)


class SelectManyWidget(SelectWidget):
    """Box of many rows; permissions are shown as a matrix of areas and rights."""

    def __init__(self, **_looks: Any) -> None:
        super().__init__()
        self.multiple = True

    def is_matrix(self, field: Field) -> bool:
        """Whether the rows offered are permissions."""
        return any(isinstance(row, PermissionView) for _pk, row in _offered(field))

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        if self.is_matrix(field):
            return permission_matrix(field)
        kwargs.setdefault("data_select", True)
        return super().__call__(field, **kwargs)


def _offered(field: Field) -> list[tuple[str, Any]]:
    load = getattr(field, "_get_object_list", None)
    return list(load()) if load else []


# --- matrix of permissions ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Right:
    """One box of the matrix."""

    pk: str
    name: str
    label: str
    granted: bool


def permission_matrix(field: Field) -> Markup:
    """Areas down, rights across, as boxes of one name: the form field reads them like a select."""
    granted = {row.id for row in field.data or [] if row is not None}
    areas: dict[str, list[Right]] = {}
    for pk, row in _offered(field):
        name = row.permission.name
        right = Right(str(pk), name, permission_label(name), row.id in granted)
        areas.setdefault(row.view_menu.name, []).append(right)
    known = {name: rights for name, rights in areas.items() if view_label(name) != name}
    system = {name: rights for name, rights in areas.items() if name not in known}
    groups = [(_("Разделы"), _sorted(known)), (_("Служебное"), _sorted(system))]
    shown = [group for group in groups if group[1]]
    page = render_template("appbuilder/matrix.html", field=field, groups=shown)
    return Markup(page)  # noqa: S704  an autoescaped template


def _sorted(areas: dict[str, list[Right]]) -> list[tuple[str, list[Right]]]:
    named = [(view_label(name), sorted(rights, key=_habitual)) for name, rights in areas.items()]
    return sorted(named, key=lambda area: area[0])


_HABIT = ("can_list", "can_show", "can_add", "can_edit", "can_delete")


def _habitual(right: Right) -> tuple[int, str]:
    """See, open, create, change, delete, then the rest by name."""
    place = _HABIT.index(right.name) if right.name in _HABIT else len(_HABIT)
    return place, right.label


# --- conditions of a list -------------------------------------------------------

_OPERATIONS: dict[str, LazyString] = {
    "FilterStartsWith": _l("начинается с"),
    "FilterNotStartsWith": _l("не начинается с"),
    "FilterEndsWith": _l("кончается на"),
    "FilterNotEndsWith": _l("не кончается на"),
    "FilterContains": _l("содержит"),
    "FilterNotContains": _l("не содержит"),
    "FilterEqual": _l("равно"),
    "FilterNotEqual": _l("не равно"),
    "FilterGreater": _l("больше"),
    "FilterSmaller": _l("меньше"),
    "FilterRelationOneToManyEqual": _l("это"),
    "FilterRelationOneToManyNotEqual": _l("не"),
    "FilterRelationManyToManyEqual": _l("есть среди"),
}
_MOMENT_OPERATIONS = {"FilterGreater": _l("позже"), "FilterSmaller": _l("раньше")}
_FLAG_OPERATIONS = {"FilterEqual": _l("да"), "FilterNotEqual": _l("нет")}
_CALENDARS = (DateWidget, DateTimeWidget)


@dataclass(frozen=True, slots=True)
class Column:
    """A column by which the list can be narrowed."""

    name: str
    label: str
    operations: list[str]
    preferred: int
    field: Markup


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in force: its chip and what the form needs to show it again."""

    column: str
    operation: int
    value: str
    shown: str
    text: str
    remove_href: str


class ConditionsWidget(SearchWidget):  # type: ignore[misc]
    """Search of a list as chips and rows of conditions."""

    def __call__(self, **kwargs: Any) -> str:
        form, filters = self.template_args["form"], self.template_args["filters"]
        offered = filters.get_search_filters()
        names = [name for name in self.template_args["include_cols"] if name in offered]
        columns = [_column(form[name], offered[name]) for name in names]
        active = list(_conditions(form, offered))
        return render_template(
            self.template,
            columns=columns,
            active=active,
            active_json=_as_json(active),
            form_id=f"filters-{kwargs.get('modelview_name', 'list')}",
            kept=[pair for pair in _pairs() if not pair[0].startswith(("_flt_", "page_"))],
        )


def _as_json(active: list[Condition]) -> str:
    rows = [
        {"column": c.column, "operation": c.operation, "value": c.value, "shown": c.shown}
        for c in active
    ]
    return json.dumps(rows, ensure_ascii=False)


def _pairs() -> list[tuple[str, str]]:
    return list(request.args.items(multi=True))


def _column(field: Field, operations: list[Any]) -> Column:
    kinds = [type(operation).__name__ for operation in operations]
    preferred = kinds.index("FilterContains") if "FilterContains" in kinds else 0
    labels = [_operation_label(field, operation) for operation in operations]
    return Column(field.name, str(field.label.text), labels, preferred, _value_box(field))


def _value_box(field: Field) -> Markup:
    if isinstance(field, BooleanField):
        return Markup('<input type="hidden" value="y">')
    is_choice = hasattr(field, "iter_choices")
    box: Markup = field(class_="form-select" if is_choice else "form-control")
    return box


def _operation_label(field: Field, operation: Any) -> str:
    kind = type(operation).__name__
    labels: dict[str, LazyString] = {}
    if isinstance(field, BooleanField):
        labels = _FLAG_OPERATIONS
    elif isinstance(field.widget, _CALENDARS):
        labels = _MOMENT_OPERATIONS
    return str(labels.get(kind) or _OPERATIONS.get(kind) or operation.name)


def _conditions(form: Any, offered: dict[str, list[Any]]) -> Iterator[Condition]:
    for argument, value in _pairs():
        index, _sep, column = argument.removeprefix("_flt_").partition("_")
        if not argument.startswith("_flt_") or column not in offered or not index.isdecimal():
            continue
        if int(index) < len(offered[column]) and value:
            yield _condition(form[column], offered[column], int(index), argument, value)


def _condition(
    field: Field, operations: list[Any], index: int, argument: str, value: str
) -> Condition:
    shown = _shown(field, value)
    words = [f"{field.label.text}:"]
    kind = type(operations[index]).__name__
    if kind not in ("FilterEqual", "FilterContains", "FilterRelationOneToManyEqual") or isinstance(
        field, BooleanField
    ):
        words.append(_operation_label(field, operations[index]))
    if not isinstance(field, BooleanField):
        words.append(shown)
    return Condition(field.name, index, value, shown, " ".join(words), _without(argument, value))


def _without(argument: str, value: str) -> str:
    left = [pair for pair in _pairs() if pair != (argument, value)]
    kept = [pair for pair in left if not pair[0].startswith("page_")]
    return f"{request.path}?{urlencode(kept)}" if kept else request.path


def _shown(field: Field, value: str) -> str:
    """Value in words: the name of a related row instead of its number."""
    if isinstance(field.widget, _CALENDARS):
        return _shown_day(value)
    if not hasattr(field, "iter_choices"):
        return value
    labels = {str(choice[0]): str(choice[1]) for choice in _choices(field, value)}
    return labels.get(value, value)


def _choices(field: Field, value: str) -> list[Any]:
    """Offered choices; a remotely searched field offers only what it holds, so it is filled."""
    if not hasattr(field, "model") or not hasattr(field, "unknown"):
        return list(field.iter_choices())
    kept = field.data
    field.process_formdata([value])
    found = list(field.iter_choices())
    field.data = kept
    return found


def _shown_day(value: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        return value
    return f"{moment:%d.%m.%Y}" if len(value) <= len("2026-11-23") else f"{moment:%d.%m.%Y %H:%M}"


# --- installation ---------------------------------------------------------------

_WIDGETS: dict[str, type] = {
    "is_image": ImageWidget,
    "is_file": FileWidget,
    "is_text": TextAreaWidget,
    "is_binary": TextAreaWidget,
    "is_json": TextAreaWidget,
    "is_string": TextWidget,
    "is_integer": IntegerWidget,
    "is_numeric": DecimalWidget,
    "is_float": DecimalWidget,
    "is_boolean": SwitchWidget,
    "is_date": DateWidget,
    "is_datetime": DateTimeWidget,
}
_FIELDS: dict[str, type[Field]] = {
    "is_datetime": LocalDateTimeField,
    "is_numeric": LocalDecimalField,
}


def install_widgets() -> None:
    """Replace the widgets that FAB's form converter and lists hand out. Safe to call twice."""
    FieldConverter.conversion_table = tuple(
        (test, _FIELDS.get(test, field), _WIDGETS.get(test, widget))
        for test, field, widget in FieldConverter.conversion_table
    )
    # The converter looks these names up in its own module.
    fab_forms.Select2Widget = SelectWidget
    fab_forms.Select2ManyWidget = SelectManyWidget
    BaseModelView.search_widget = ConditionsWidget
