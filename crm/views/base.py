"""Our bases over FAB's, with its holes closed once for all (docs/architecture.md, «FAB»).

No product view may inherit FAB's classes directly; a test fails when one does.
"""

from __future__ import annotations

import copy
import datetime as dt
from builtins import list as List  # noqa: N812  FAB's views have a method called list
from collections.abc import Sequence
from typing import Any

from flask import abort, flash, g, has_request_context, redirect, render_template, request, url_for
from flask_appbuilder import ModelView, expose
from flask_appbuilder.baseviews import BaseModelView, BaseView
from flask_appbuilder.models.filters import BaseFilter, Filters
from flask_appbuilder.models.sqla.filters import SQLAFilterConverter
from flask_appbuilder.models.sqla.interface import SQLAInterface
from flask_babel import gettext as _
from sqlalchemy import inspect, select
from sqlalchemy.orm import Query, selectinload
from werkzeug.wrappers import Response

from crm.models import Action, Model, db
from crm.operations import records
from crm.operations.errors import Conflict, ValidationErrors
from crm.security import visibility
from crm.security.principal import current_principal
from crm.views.access import local_path, public, requires, signed_in
from crm.views.forms import CrmModelConverter

PAGE_SIZES = (10, 25, 50, 100)
COUNT_CAP = 10_000
MAX_ACTION_ROWS = 500


class PerRequestFilters:
    """``_filters`` of a view, one copy a request.

    FAB keeps one object per process that every request clears and refills, so
    that threads see each other's filters (dpgaspar/Flask-AppBuilder#2366).
    """

    def __set__(self, obj: Any, value: Filters) -> None:
        obj.__dict__["_filters_proto"] = value

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        proto = obj.__dict__.get("_filters_proto")
        if proto is None or not has_request_context():
            return proto
        store = g.setdefault("_kv_filters", {})
        if id(obj) not in store:
            fresh = copy.copy(proto)
            fresh.clear_filters()
            store[id(obj)] = fresh
        return store[id(obj)]


# FAB's own model views, should an add-on register one, get the same protection.
BaseModelView._filters = PerRequestFilters()


class VisibleRows(BaseFilter):  # type: ignore[misc]
    """The one visibility function as a FAB base filter. Its value is the action."""

    name = "visible"

    def apply(self, query: Query[Any], value: Any) -> Query[Any]:
        principal = current_principal()
        return query.filter(visibility.condition(principal, self.model, Action(value)))


class DeclaredFilters(SQLAFilterConverter):  # type: ignore[misc]
    """FAB's table of filters; a column of a type without filters is no reason for a warning."""

    conversion_table = (*SQLAFilterConverter.conversion_table, ("is_anything", []))


class CappedInterface(SQLAInterface):  # type: ignore[misc]
    """Counts at most 10 001 rows and loads listed relations in one query each."""

    filter_converter_class = DeclaredFilters

    def is_anything(self, _column: str) -> bool:
        """Whatever no earlier line of the table of filters knows."""
        return True

    def __init__(self, obj: type[Model], eager: Sequence[str] = ()) -> None:
        super().__init__(obj)
        self.eager = tuple(eager)

    def query_count(
        self,
        query: Query[Any],
        filters: Any = None,
        select_columns: Any = None,  # noqa: ARG002
    ) -> int:
        narrowed = self.apply_filters(query, filters).with_entities(self.get_pk())
        count: int = narrowed.order_by(None).limit(COUNT_CAP + 1).count()
        return count

    def get_search_columns_list(self) -> List[str]:
        """Nothing: every view declares what may be searched."""
        return []

    def apply_engine_specific_hack(
        self, query: Query[Any], _page: Any, _page_size: Any, _order: Any
    ) -> Query[Any]:
        """FAB orders pages for MS SQL here, which is none of our databases."""
        return query

    def apply_all(self, query: Query[Any], *args: Any, **kwargs: Any) -> Query[Any]:
        options = [selectinload(getattr(self.obj, name)) for name in self.eager]
        result: Query[Any] = super().apply_all(query, *args, **kwargs)
        return result.options(*options)


class CrmView(BaseView):  # type: ignore[misc]
    """Base of pages and endpoints that are not plain tables of records."""

    # Set in each class: rights outlive a renaming of the class.
    class_permission_name: str | None = None
    default_view = "index"

    def page(self, template: str, **context: Any) -> str:
        """Render ``template`` within the shell."""
        return render_template(
            template,
            appbuilder=self.appbuilder,
            base_template=self.appbuilder.base_template,
            **context,
        )


class HomeView(CrmView):
    """The root address leads to the first page that the person may open."""

    route_base = ""
    class_permission_name = "Home"

    @expose("/")
    @signed_in
    def index(self) -> Response:
        from crm.views.shell import first_page

        return redirect(first_page())


class CrmModelView(ModelView):  # type: ignore[misc]
    """A settings-like table: list, card, form; every row and relation through visibility."""

    _filters = PerRequestFilters()
    class_permission_name: str | None = None
    # Growing tables are searched remotely; a list's relations are loaded together.
    datamodel: CappedInterface
    base_filters: List[Any] | None = None
    add_form: Any = None
    edit_form: Any = None
    exclude_route_methods = frozenset({"download"})
    page_size = 25
    # Shown above the list: what this table is for, in one or two sentences.
    intro = ""

    def __init__(self, **kwargs: Any) -> None:
        model = self.datamodel.obj
        relations = inspect(model).relationships.keys()
        shown = {name.partition(".")[0] for name in self.list_columns or ()}
        self.datamodel.eager = tuple(name for name in relations if name in shown)
        if visibility.has_row_rights(model):
            self.base_filters = [["id", VisibleRows, Action.VIEW], *(self.base_filters or [])]
        super().__init__(**kwargs)

    def create_blueprint(self, *args: Any, **kwargs: Any) -> Any:
        """As FAB's, but forms come as forms only."""
        blueprint = super().create_blueprint(*args, **kwargs)
        blueprint.before_request(_refuse_unreadable)
        return blueprint

    def _init_forms(self) -> None:
        converter = CrmModelConverter(self.datamodel)
        self.add_form = self.add_form or self._make_form(
            converter, self.add_columns, self.add_form_extra_fields
        )
        self.edit_form = self.edit_form or self._make_form(
            converter, self.edit_columns, self.edit_form_extra_fields
        )
        # The search form never holds a whole related table: relations search remotely.
        self.search_form = self._make_form(
            converter, self.search_columns, self.search_form_extra_fields
        )

    def _make_form(
        self, converter: CrmModelConverter, columns: List[str], extra: dict[str, Any] | None
    ) -> type[Any]:
        form: type[Any] = converter.create_form(
            self.label_columns,
            columns,
            self.description_columns,
            self.validators_columns,
            extra or {},
            None,
        )
        return form

    # --- list ---------------------------------------------------------------

    @expose("/list/")
    @requires("list")
    def list(self) -> str:
        """Filtered, ordered, paged rows that the person may see."""
        order, direction = self._order_args()
        self._read_filters()
        widgets = self._get_list_widget(
            filters=self._filters,
            order_column=order,
            order_direction=direction,
            page=self._number_arg("page_", 0, 100_000),
            page_size=self._page_size_arg(),
        )
        widgets = self._get_search_widget(form=self.search_form.refresh(), widgets=widgets)
        text: str = self.render_template(
            self.list_template, title=self.list_title, widgets=widgets, intro=self.intro
        )
        return text

    def _order_args(self) -> tuple[str, str]:
        column = self._arg("_oc_")
        direction = self._arg("_od_")
        if column not in self.order_columns or direction not in ("asc", "desc"):
            return "", ""
        return column, direction

    def _arg(self, prefix: str) -> str:
        return request.args.get(prefix + type(self).__name__, "")

    def _number_arg(self, prefix: str, default: int, top: int) -> int:
        text = self._arg(prefix)
        return min(int(text), top) if text.isdecimal() else default

    def _page_size_arg(self) -> int:
        size = self._number_arg("psize_", self.page_size, PAGE_SIZES[-1])
        return max(size, PAGE_SIZES[0]) if size != self.page_size else size

    def _read_filters(self) -> None:
        """Take over ``_flt_<n>_<column>`` of declared search columns with readable values."""
        self._filters.clear_filters()
        offered = self._filters.get_search_filters()
        for argument in request.args:
            index, _sep, column = argument.removeprefix("_flt_").partition("_")
            if not argument.startswith("_flt_") or column not in offered:
                continue
            if not index.isdecimal() or int(index) >= len(offered[column]):
                continue
            for value in request.args.getlist(argument):
                if self._readable(column, value):
                    self._filters.add_filter_index(column, int(index), value)

    def _readable(self, column: str, value: str) -> bool:
        """PostgreSQL refuses a query with text where a number stands: refuse before it."""
        mapper = inspect(self.datamodel.obj)
        if column in mapper.relationships:
            return value.isdecimal()
        if column not in mapper.columns:
            return True
        python_type = mapper.columns[column].type.python_type
        return _parses(python_type, value)

    # --- card ---------------------------------------------------------------

    @expose("/show/<int:pk>")
    @requires("show")
    def show(self, pk: int) -> str:
        """Card of one record with the related lists that the person may open."""
        item = self._get_or_404(pk)
        widgets = self._get_show_widget(pk, item)
        related = [view for view in self._related_views if self._may_list(view)]
        widgets["related_views"] = [
            self._get_related_view_widget(item, view, page=0, page_size=PAGE_SIZES[0])
            for view in related
        ]
        text: str = self.render_template(
            self.show_template,
            pk=pk,
            title=self.show_title,
            item=item,
            widgets=widgets,
            related_views=related,
        )
        return text

    def _may_list(self, view: Any) -> bool:
        """FAB shows a related tab whatever the child view's own permission."""
        return bool(self.appbuilder.sm.has_access("can_list", view.class_permission_name))

    def _get_or_404(self, pk: int, action: Action = Action.VIEW) -> Model:
        query = select(self.datamodel.obj).where(self.datamodel.get_pk() == pk)
        query = visibility.visible(query, current_principal(), self.datamodel.obj, action)
        item: Model | None = db.session.scalars(query).one_or_none()
        if item is None:
            abort(404)
        return item

    # --- forms --------------------------------------------------------------

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> Response | str:
        """New record; a refused form comes back with everything typed."""
        form = self.add_form.refresh()
        if request.method == "POST" and form.validate():
            item = self.datamodel.obj()
            if self._save(form, item, is_new=True):
                flash(_("Сохранено: %(name)s", name=str(item)), "success")
                return redirect(self.after_save(item))
        widgets = self._get_add_widget(form=form)
        text: str = self.render_template(
            self.add_template,
            title=self.add_title,
            widgets=widgets,
            form=form,
            intro=self.intro,
            **self.page_context(None),
        )
        return text

    @expose("/edit/<int:pk>", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, pk: int) -> Response | str:
        """Change a record that the person may edit."""
        item = self._get_or_404(pk, Action.EDIT)
        if request.method == "POST":
            form = self.edit_form.refresh(request.form)
            form._id = pk
            if form.validate() and self._save(form, item, is_new=False):
                flash(_("Сохранено: %(name)s", name=str(item)), "success")
                return redirect(self.after_save(item))
        else:
            form = self.edit_form.refresh(obj=item)
            self.prefill_form(form, pk)
        return self.edit_page(item, form)

    def edit_page(self, item: Model, form: Any = None, **extra: Any) -> str:
        """The page of the edit form; other POST routes of a view answer with it too."""
        # A POST of another form on the page must not fill this one.
        form = form or self.edit_form(formdata=None, obj=item)
        text: str = self.render_template(
            self.edit_template,
            title=self.edit_title,
            widgets=self._get_edit_widget(form=form),
            related_views=[],
            item=item,
            form=form,
            **{**self.page_context(item), **extra},
        )
        return text

    def page_context(self, item: Model | None) -> dict[str, Any]:  # noqa: ARG002
        """What a view's own form template needs besides the form; ``item`` None: a new record."""
        return {}

    def after_save(self, item: Model) -> str:  # noqa: ARG002
        """Where to go after saving: the address asked for, else the list."""
        return local_path(request.args.get("next"), url_for(f"{self.endpoint}.list"))

    def fill(self, form: Any, item: Model) -> None:
        """Put the form's values into the record; views with own fields extend it."""
        form.populate_obj(item)

    def store(self, item: Model, *, is_new: bool) -> None:
        """Keep the record; views whose records have an operation of their own call it here."""
        (records.create if is_new else records.update)(item, current_principal())

    def _save(self, form: Any, item: Model, *, is_new: bool) -> bool:
        try:
            with db.session.no_autoflush:
                self.fill(form, item)
            self.store(item, is_new=is_new)
        except ValidationErrors as error:
            _show_errors(form, error)
            return False
        return True

    @expose("/delete/<int:pk>", methods=["POST"])
    @requires("delete")
    def delete(self, pk: int) -> Response:
        """Delete a record, or say why it cannot be."""
        item = self._get_or_404(pk, Action.DELETE)
        name = str(item)
        try:
            records.delete(item, current_principal())
        except Conflict as error:
            flash(error.message, "danger")
        else:
            flash(_("Удалено: %(name)s", name=name), "success")
        return redirect(url_for(f"{self.endpoint}.list"))

    # --- actions ------------------------------------------------------------

    @expose("/action/<string:name>/<int:pk>", methods=["POST"])
    @signed_in
    def action(self, name: str, pk: int) -> Any:
        """Action on one row, which must be within the person's rows."""
        function, rows = self._action_rows(name, [str(pk)])
        return function(rows)

    @expose("/action_post", methods=["POST"])
    @signed_in
    def action_post(self) -> Any:
        """Action on checked rows, all of which must be within the person's rows."""
        function, rows = self._action_rows(
            request.form.get("action", ""), request.form.getlist("rowid")
        )
        return function(rows)

    def _action_rows(self, name: str, pks: List[str]) -> tuple[Any, List[Model]]:
        action = self.actions.get(name)
        if action is None:
            abort(404)
        permission = self.get_action_permission_name(name)
        if not self.appbuilder.sm.has_access(permission, self.class_permission_name):
            abort(403)
        if not pks or len(pks) > MAX_ACTION_ROWS:
            abort(400)
        ids = {int(pk) for pk in pks if pk.isdecimal()}
        if len(ids) != len(set(pks)):
            abort(404)
        model = self.datamodel.obj
        query = select(model).where(self.datamodel.get_pk().in_(ids))
        query = visibility.visible(query, current_principal(), model, Action.EDIT)
        rows = List(db.session.scalars(query))
        if len(rows) != len(ids):
            abort(404)
        return action.func, rows


def _refuse_unreadable() -> None:
    """Flask-WTF would fill a form from JSON, whose values are no texts: fields break on them.

    No browser sends the zero character, and PostgreSQL takes it nowhere.
    """
    if request.is_json:
        abort(415)
    if any("\x00" in text for _name, text in request.form.items(multi=True)):
        abort(400)


def _parses(python_type: type, value: str) -> bool:
    try:
        if python_type in (dt.datetime, dt.date):
            python_type.fromisoformat(value)  # type: ignore[attr-defined]
        elif python_type is int:
            return -(2**31) <= int(value) < 2**31
        elif python_type is not str and python_type is not bool:
            python_type(value)
    except (ValueError, ArithmeticError, TypeError):
        return False
    return "\x00" not in value


def _show_errors(form: Any, error: ValidationErrors) -> None:
    """Put each complaint beside its field; those of no field go above the form."""
    for complaint in error.errors:
        field = form._fields.get(complaint.field)
        if field is None:
            flash(complaint.message, "danger")
        else:
            field.errors = [*field.errors, complaint.message]


__all__ = [
    "CappedInterface", "CrmModelView", "CrmView", "HomeView", "PerRequestFilters", "VisibleRows",
    "expose", "public", "requires", "signed_in",
]  # fmt: skip
