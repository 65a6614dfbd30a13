"""Our base of REST APIs: cookies with CSRF, rows and related ids through visibility."""

from __future__ import annotations

from typing import Any

import prison  # type: ignore[import-untyped]
from flask import Response, jsonify, make_response, request
from flask_appbuilder import ModelRestApi
from flask_appbuilder.api import BaseApi
from flask_appbuilder.exceptions import FABException
from flask_babel import gettext as _
from marshmallow import ValidationError as SchemaError
from sqlalchemy import inspect, select
from sqlalchemy.exc import DataError, StatementError

from crm.models import Action, Model, db
from crm.operations import records
from crm.operations.errors import FieldError, OperationError, ValidationErrors
from crm.security import visibility
from crm.security.principal import current_principal
from crm.views.base import CappedInterface, PerRequestFilters, VisibleRows
from crm.views.errors import error_body

# What FAB and the databases raise on a filter or a page number that makes no sense.
_UNREADABLE = (
    FABException, DataError, StatementError, ValueError, TypeError, KeyError, OverflowError,
)  # fmt: skip


class Answers:
    """What both kinds of API share."""

    def answer(self, code: int = 200, **body: Any) -> Response:
        """JSON answer."""
        return make_response(jsonify(body), code)


class CrmApi(Answers, BaseApi):  # type: ignore[misc]
    """Base of JSON endpoints that are not plain tables."""

    version = "v1"
    csrf_exempt = False
    allow_browser_login = True
    class_permission_name: str | None = None


class CrmRestApi(Answers, ModelRestApi):  # type: ignore[misc]
    """CRUD over JSON; each class declares its columns, nothing is open by default."""

    _filters = PerRequestFilters()
    version = "v1"
    csrf_exempt = False
    allow_browser_login = True
    class_permission_name: str | None = None
    datamodel: CappedInterface
    base_filters: list[Any] | None = None
    page_size = 25
    max_page_size = 100

    def __init__(self) -> None:
        for name in ("list_columns", "show_columns", "search_columns", "order_columns"):
            if not getattr(self, name, None):
                raise TypeError(f"{type(self).__name__} must declare {name}")
        if visibility.has_row_rights(self.datamodel.obj):
            self.base_filters = [["id", VisibleRows, Action.VIEW], *(self.base_filters or [])]
        super().__init__()

    def create_blueprint(self, *args: Any, **kwargs: Any) -> Any:
        """As FAB's, but nothing reads a query that cannot be understood."""
        blueprint = super().create_blueprint(*args, **kwargs)
        blueprint.before_request(_refuse_unreadable)
        return blueprint

    def get_list_headless(self, **kwargs: Any) -> Response:
        """As FAB's, but a bad filter is the caller's fault: 400, not 500."""
        try:
            response: Response = super().get_list_headless(**kwargs)
        except _UNREADABLE:
            db.session.rollback()
            return self.response_400(message=_("Условие отбора не удалось понять."))
        return response

    def post_headless(self) -> Response:
        """Create through the operation of records."""
        item = self._loaded(self.add_model_schema, None)
        if isinstance(item, Response):
            return item
        return self._store(item, is_new=True)

    def put_headless(self, pk: Any) -> Response:
        """Change a row that the person may edit."""
        row = self._row(pk, Action.EDIT)
        if row is None:
            return self.response_404()
        item = self._loaded(self.edit_model_schema, row)
        if isinstance(item, Response):
            return item
        return self._store(item, is_new=False)

    def delete_headless(self, pk: Any) -> Response:
        """Delete a row that the person may delete."""
        row = self._row(pk, Action.DELETE)
        if row is None:
            return self.response_404()
        try:
            records.delete(row, current_principal())
        except OperationError as error:
            return make_response(jsonify(error_body(error)), error.status)
        return self.response(200, message="OK")

    def _row(self, pk: Any, action: Action) -> Model | None:
        if not str(pk).isdecimal():
            return None
        return visibility.get_visible(current_principal(), self.datamodel.obj, int(pk), action)

    def _loaded(self, schema: Any, row: Model | None) -> Model | Response:
        if not request.is_json or not isinstance(request.get_json(silent=True), dict):
            return self.response_400(message=_("Нужен объект JSON."))
        body = request.get_json()
        errors = self._foreign_ids(body)
        if errors:
            return self._refuse(ValidationErrors(errors))
        try:
            with db.session.no_autoflush:
                if row is None:
                    item: Model = schema.load(body)
                else:
                    item = schema.load(self._merge_update_item(row, body), instance=row)
        except SchemaError as error:
            db.session.rollback()
            return self.response_422(message=error.messages)
        return item

    def _foreign_ids(self, body: dict[str, Any]) -> list[FieldError]:
        """Related rows that the person may not see: FAB would attach any."""
        errors = []
        for name, relation in inspect(self.datamodel.obj).relationships.items():
            if body.get(name) in (None, "", []):
                continue
            wanted = body[name] if isinstance(body[name], list) else [body[name]]
            if not self._all_visible(relation.mapper.class_, wanted):
                errors.append(FieldError(name, _("Такой записи нет, или она вам недоступна.")))
        return errors

    def _all_visible(self, model: type[Model], wanted: list[Any]) -> bool:
        if not all(isinstance(pk, int) or str(pk).isdecimal() for pk in wanted):
            return False
        ids = {int(pk) for pk in wanted}
        query = visibility.visible(
            select(model.id).where(model.id.in_(ids)), current_principal(), model
        )
        return len(db.session.scalars(query).all()) == len(ids)

    def _store(self, item: Model, *, is_new: bool) -> Response:
        schema = self.add_model_schema if is_new else self.edit_model_schema
        try:
            (records.create if is_new else records.update)(item, current_principal())
        except OperationError as error:
            return self._refuse(error)
        result = schema.dump(item, many=False)
        return make_response(jsonify(id=item.id, result=result), 201 if is_new else 200)

    def _refuse(self, error: OperationError) -> Response:
        return make_response(jsonify(error_body(error)), error.status)


def _refuse_unreadable() -> Response | None:
    """400 for a malformed ``q``: FAB's reader of it may also exhaust the stack."""
    try:
        prison.loads(request.args.get("q", "()"))
    except (prison.decoder.ParserException, RecursionError, ValueError, IndexError):
        return make_response(jsonify(message=_("Условие отбора не удалось понять.")), 400)
    return None
