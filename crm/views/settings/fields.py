"""Form fields that the settings share: fixed choices, colours, times, switches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flask_babel import LazyString
from flask_babel import gettext as _
from markupsafe import Markup
from wtforms import Field, SelectField, SelectMultipleField, TimeField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Optional
from wtforms.widgets import CheckboxInput, ColorInput, ListWidget, html_params

from crm.views.widgets import SelectWidget, TextWidget

Choices = Sequence[tuple[str, Any]] | Callable[[], Iterable[tuple[str, Any]]]


def choice(
    label: Any, choices: Choices, *, blank: bool = False, description: Any = "", default: Any = None
) -> SelectField:
    """A box of fixed values; with ``blank`` nothing may be chosen, which is stored as NULL."""

    def rows() -> list[SelectChoice]:
        offered = choices() if callable(choices) else choices
        head = [SelectChoice("", "—")] if blank else []
        return head + [SelectChoice(str(value), text) for value, text in offered]

    return SelectField(
        label,
        choices=rows,
        coerce=_text_or_none if blank else str,
        validators=[Optional()] if blank else [InputRequired()],
        widget=SelectWidget(),
        description=description,
        default=default,
    )


def _text_or_none(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


class _ColorWidget(ColorInput):
    def __call__(self, field: Field, **kwargs: Any) -> Any:
        kwargs["class_"] = "form-control form-control-color"
        return super().__call__(field, **kwargs)


class ColorField(Field):
    """Colour as ``#rrggbb``."""

    widget = _ColorWidget()

    def _value(self) -> str:
        return str(self.data or "#3056d3")


class ClockField(TimeField):
    """Time of day, ``09:00``."""

    widget = TextWidget("numeric")

    def process_formdata(self, valuelist: list[str]) -> None:
        text = valuelist[0].strip() if valuelist else ""
        try:
            self.data = dt.time.fromisoformat(text.zfill(len("09:00"))) if text else None
        except ValueError as error:
            self.data = None
            raise ValueError(_("Введите время, например 09:00.")) from error


class _BoxWidget(CheckboxInput):
    def __call__(self, field: Field, **kwargs: Any) -> Any:
        kwargs.pop("class_", None)
        return super().__call__(field, **kwargs)


class _DaysWidget(ListWidget):
    """Seven boxes on one line."""

    def __call__(self, field: Field, **_kwargs: Any) -> Any:
        boxes = [
            Markup("<label class='kv-check-line'>{}{}</label>").format(box(), box.label.text)
            for box in field
        ]
        params = html_params(class_="kv-days", role="group", id=field.id)
        return Markup("<div {}>{}</div>").format(Markup(params), Markup("").join(boxes))  # noqa: S704


class DaysField(SelectMultipleField):
    """Days of the week, kept as the text ``1,2,3,4,5`` (Monday is 1)."""

    widget = _DaysWidget()
    option_widget = _BoxWidget()

    def __init__(self, label: Any, names: Callable[[], list[LazyString]], **kwargs: Any) -> None:
        days = [SelectChoice(str(number), name) for number, name in enumerate(names(), start=1)]
        super().__init__(label, choices=days, **kwargs)

    def process_data(self, value: str | None) -> None:
        self.data = (value or "").split(",")

    def populate_obj(self, obj: Any, name: str) -> None:
        setattr(obj, name, ",".join(sorted(self.data or [])))
