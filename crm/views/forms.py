"""FAB's form converter, mended: remote search for growing tables, boxes that untick.

And the base of forms that belong to no table.
"""

from __future__ import annotations

from typing import Any

from flask import request
from flask_appbuilder import forms as fab_forms
from flask_appbuilder.fields import QuerySelectField, QuerySelectMultipleField
from flask_appbuilder.forms import GeneralModelConverter
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from flask_wtf.form import _Auto, _is_submitted
from sqlalchemy import select
from wtforms import BooleanField, validators
from wtforms.fields.choices import Choice, SelectFieldBase
from wtforms.widgets import Select

from crm.models import Contact, Deal, Employee, Listing, Model, Source, db
from crm.security import visibility
from crm.security.principal import current_principal

# Relations to these tables are searched, never listed in a page.
REMOTE: dict[type[Model], str] = {
    Contact: "contacts",
    Deal: "deals",
    Employee: "employees",
    Listing: "listings",
    Source: "sources",
}


class PageForm(FlaskForm):  # type: ignore[misc]
    """A form of a page: filled from a sent form only.

    Flask-WTF would take JSON for one, whose values are no texts: fields break on them.
    """

    class Meta(FlaskForm.Meta):  # type: ignore[misc]
        """How Flask-WTF reads the request."""

        def wrap_formdata(self, _form: Any, formdata: Any) -> Any:
            """What was sent as a form, unless the caller gives it; nothing for a plain visit."""
            if formdata is not _Auto:
                return formdata
            return request.form if _is_submitted() else None


class RemoteSelectWidget:
    """``<select data-remote>`` holding the chosen rows only."""

    def __init__(self, multiple: bool = False) -> None:
        self.multiple = multiple

    def __call__(self, field: RemoteSelectField, **kwargs: Any) -> Any:
        kwargs.setdefault("class_", "form-select")
        kwargs["data_remote"] = f"/api/v1/options/{REMOTE[field.model]}"
        kwargs.pop("required", None)
        return Select(multiple=self.multiple)(field, **kwargs)


class RemoteSelectField(SelectFieldBase):
    """One related row, or many, each checked against what the person may see."""

    def __init__(self, label: Any, model: type[Model], multiple: bool = False, **kwargs: Any):
        kwargs.setdefault("widget", RemoteSelectWidget(multiple))
        super().__init__(label, **kwargs)
        self.model = model
        self.multiple = multiple
        self.unknown = False

    def _chosen(self) -> list[Model]:
        if self.multiple:
            return list(self.data or [])
        return [self.data] if self.data is not None else []

    def iter_choices(self) -> Any:
        """Blank and the chosen rows, as WTForms' select widget expects them."""
        if not self.multiple:
            yield Choice("", "—", self.data is None, {})
        for row in self._chosen():
            yield Choice(str(row.id), str(row), True, {})

    def process_formdata(self, valuelist: list[str]) -> None:
        ids = {int(value) for value in valuelist if value.isdecimal()}
        rows = self._load(ids)
        # A row out of sight is refused like one that does not exist.
        self.unknown = len(rows) != len(ids) or any(
            value and not value.isdecimal() for value in valuelist
        )
        self.data = rows if self.multiple else (rows[0] if rows else None)

    def _load(self, ids: set[int]) -> list[Model]:
        if not ids:
            return []
        query = select(self.model).where(self.model.id.in_(ids))
        return list(db.session.scalars(visibility.visible(query, current_principal(), self.model)))

    def pre_validate(self, form: Any) -> None:  # noqa: ARG002  (WTForms calls it so)
        if self.unknown:
            raise validators.ValidationError(_("Такой записи нет, или она вам недоступна."))


class VisibleSelectField(QuerySelectField):  # type: ignore[misc]
    """Small related table, narrowed by visibility."""

    def __init__(self, label: Any = None, model: type[Model] | None = None, **kwargs: Any):
        if model is None:
            raise TypeError("model is required")

        def rows() -> list[Model]:
            query = visibility.visible(select(model), current_principal(), model)
            return list(db.session.scalars(query.order_by(_natural_order(model))))

        super().__init__(
            label, query_func=rows, get_pk_func=lambda row: row.id, blank_text="—", **kwargs
        )

    def iter_choices(self) -> Any:
        """FAB yields bare tuples, which WTForms no longer likes."""
        for choice in super().iter_choices():
            yield Choice(*choice)


class VisibleSelectManyField(QuerySelectMultipleField):  # type: ignore[misc]
    """Many rows of a small related table, narrowed by visibility."""

    def __init__(self, label: Any, model: type[Model], **kwargs: Any) -> None:
        def rows() -> list[Model]:
            query = visibility.visible(select(model), current_principal(), model)
            return list(db.session.scalars(query.order_by(_natural_order(model))))

        kwargs.setdefault("widget", fab_forms.Select2ManyWidget())
        super().__init__(label, query_func=rows, get_pk_func=lambda row: row.id, **kwargs)

    def iter_choices(self) -> Any:
        """As above."""
        for choice in super().iter_choices():
            yield Choice(*choice)


def _natural_order(model: type[Model]) -> Any:
    for name in ("position", "name", "id"):
        if hasattr(model, name):
            return getattr(model, name)
    raise TypeError(f"{model.__name__} has no natural order")


class CrmModelConverter(GeneralModelConverter):  # type: ignore[misc]
    """Makes forms whose relations respect visibility and stay small."""

    def _convert_many_to_one(
        self,
        col_name: str,
        label: Any,
        description: Any,
        lst_validators: list[Any],
        filter_rel_fields: Any,  # noqa: ARG002
        form_props: dict[str, Any],
    ) -> dict[str, Any]:
        model = self.datamodel.get_related_model(col_name)
        optional = self.datamodel.is_nullable(col_name)
        lst_validators.append(validators.Optional() if optional else validators.DataRequired())
        if model in REMOTE:
            form_props[col_name] = RemoteSelectField(
                label, model, description=description, validators=lst_validators
            )
        else:
            form_props[col_name] = VisibleSelectField(
                label,
                model,
                description=description,
                validators=lst_validators,
                allow_blank=optional,
            )
        return form_props

    def _convert_many_to_many(
        self,
        col_name: str,
        label: Any,
        description: Any,
        lst_validators: list[Any],
        filter_rel_fields: Any,  # noqa: ARG002
        form_props: dict[str, Any],
    ) -> dict[str, Any]:
        model = self.datamodel.get_related_model(col_name)
        if model in REMOTE:
            form_props[col_name] = RemoteSelectField(
                label, model, multiple=True, description=description, validators=lst_validators
            )
            return form_props
        form_props[col_name] = VisibleSelectManyField(
            label, model, description=description, validators=lst_validators
        )
        return form_props

    def _convert_simple(
        self,
        col_name: str,
        label: Any,
        description: Any,
        lst_validators: list[Any],
        form_props: dict[str, Any],
    ) -> None:
        super()._convert_simple(col_name, label, description, lst_validators, form_props)
        field = form_props.get(col_name)
        # A NOT NULL box would have to be ticked: FAB demands an input.
        if field is not None and issubclass(field.field_class, BooleanField):
            field.kwargs["validators"] = []
