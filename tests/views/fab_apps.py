"""Two small applications for the proof of holes: FAB as it comes, and our bases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, g
from flask_appbuilder import AppBuilder, ModelRestApi, ModelView, action
from flask_appbuilder.baseviews import BaseModelView
from flask_appbuilder.models.sqla.filters import FilterEqualFunction
from flask_appbuilder.models.sqla.interface import SQLAInterface
from flask_appbuilder.security.sqla.models import Permission, PermissionView, Role, User, ViewMenu
from flask_appbuilder.widgets import SearchWidget
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from crm import create_app
from crm.models import Contact, Deal, Model, Pipeline, Stage, Tag, db
from crm.views.base import CappedInterface, CrmModelView, CrmView, expose, signed_in
from crm.views.base_api import CrmRestApi

PASSWORD = "very-long-phrase-42"
_SHARED = (
    "TESTING",
    "SECRET_KEY",
    "ENCRYPTION_KEYS",
    "SQLALCHEMY_DATABASE_URI",
    "SQLALCHEMY_ENGINE_OPTIONS",
    "REDIS_URL",
    "RATELIMIT_STORAGE_URI",
    "STORAGE_URL",
    "PUBLIC_URL",
    "EVENTS_URL",
    "OUTBOUND_ALLOW_PRIVATE",
)
_FORM = ["comment", "contact", "pipeline", "stage"]


# --- our bases ----------------------------------------------------------------------


class DealProbe(CrmModelView):
    """A plain table over a model with row rights."""

    route_base = "/probe/deals"
    class_permission_name = "Probe"
    datamodel = CappedInterface(Deal)
    list_columns = ["id", "comment"]
    show_columns = ["id", "comment", "contact"]
    add_columns = edit_columns = _FORM
    search_columns = ["comment", "contact"]
    order_columns = ["id"]

    @action("touch", "Touch", "", "fa-check")
    def touch(self, rows: list[Model]) -> str:
        for row in rows:
            row.comment = "touched"
        db.session.commit()
        return str(len(rows))


class DealProbeApi(CrmRestApi):
    """JSON over the same rows."""

    resource_name = "probe"
    class_permission_name = "Probe"
    datamodel = CappedInterface(Deal)
    list_columns = show_columns = ["id", "comment"]
    search_columns = ["comment"]
    order_columns = ["id"]
    add_columns = edit_columns = _FORM


class MenuProbe(CrmView):
    """A page that draws FAB's whole menu."""

    route_base = "/probe/menu"
    class_permission_name = "Probe"

    @expose("/")
    @signed_in
    def index(self) -> str:
        return str(len(self.appbuilder.menu.get_data()))


def ours(like: Flask) -> Flask:
    """The product with the probes registered, on the database of ``like``."""
    probe = create_app({name: like.config[name] for name in _SHARED})
    builder = probe.extensions["appbuilder"]
    with probe.app_context():
        for view in (DealProbe, MenuProbe):
            builder.add_view_no_menu(view)
        builder.add_api(DealProbeApi)
        for number in range(100):
            builder.add_link(f"Link {number}", href="/", category="Many")
    # The suite's transaction and its counter of queries serve both applications.
    db._app_engines[probe] = db._app_engines[like]
    return probe


def allow(role: str, view: str, *permissions: str) -> None:
    """Give a role permissions on a probe."""
    menu = _named(ViewMenu, view)
    holder = db.session.scalars(select(Role).where(Role.name == role)).one()
    for name in dict.fromkeys(permissions):
        right = PermissionView(permission=_named(Permission, name), view_menu=menu)
        holder.permissions.append(right)
    db.session.commit()


def _named(model: Any, name: str) -> Any:
    row = db.session.scalars(select(model).where(model.name == name)).first()
    return row or model(name=name)


# --- FAB as it comes ------------------------------------------------------------------


def _me() -> int:
    return int(g.user.id)


def stock_views(monkeypatch: Any) -> tuple[type[ModelView], type[ModelView], type[ModelRestApi]]:
    """Views as FAB's documentation writes them: rows of the signed-in user only."""
    # Our package protects even FAB's own classes: here they are as they come.
    monkeypatch.delattr(BaseModelView, "_filters")

    class StockDeal(ModelView):
        route_base = "/stock/deals"
        datamodel = SQLAInterface(Deal)
        search_widget = SearchWidget
        base_filters = [["responsible_id", FilterEqualFunction, _me]]
        list_columns = ["id", "comment"]
        show_columns = ["id", "comment"]
        add_columns = edit_columns = _FORM
        search_columns = ["comment", "contact"]
        order_columns = ["id"]

        @action("touch", "Touch", "", "fa-check")
        def touch(self, rows: Any) -> str:
            rows = rows if isinstance(rows, list) else [rows]
            for row in rows:
                row.comment = "touched"
            db.session.commit()
            return str(len(rows))

    class StockTag(ModelView):
        route_base = "/stock/tags"
        datamodel = SQLAInterface(Tag)
        search_widget = SearchWidget
        list_columns = add_columns = edit_columns = search_columns = ["name", "color"]

    class StockApi(ModelRestApi):
        resource_name = "stock"
        allow_browser_login = True
        datamodel = SQLAInterface(Deal)
        base_filters = [["responsible_id", FilterEqualFunction, _me]]
        list_columns = show_columns = ["id", "comment"]
        add_columns = edit_columns = _FORM

    return StockDeal, StockTag, StockApi


def stock(monkeypatch: Any, folder: Path, prepare: Callable[[], None], links: int = 0) -> Flask:
    """FAB 5.3 with its defaults on an empty database in memory."""
    app = Flask("stock", static_folder=None, root_path=str(folder))
    app.config.update(
        TESTING=True,
        PROPAGATE_EXCEPTIONS=False,
        SECRET_KEY="stock-secret-key-0123456789",
        SQLALCHEMY_DATABASE_URI="sqlite://",
        FAB_ADD_SECURITY_VIEWS=True,
        UPLOAD_FOLDER=str(folder),
        WTF_CSRF_ENABLED=False,
    )
    views = stock_views(monkeypatch)
    db.init_app(app)
    with app.app_context():
        db.create_all()
        builder = AppBuilder(app, db.session)
        for view in views[:2]:
            builder.add_view(view, view.__name__, category="Stock")
        builder.add_api(views[2])
        for number in range(links):
            builder.add_link(f"Link {number}", href="/", category="Many")
        prepare()
        db.session.commit()
    return app


def stock_people() -> None:
    """An ordinary user with every permission of the views, and a colleague."""
    role = Role(name="Agent", permissions=list(db.session.scalars(select(PermissionView)).unique()))
    for number, name in enumerate(("olga", "petr"), start=1):
        db.session.add(
            User(
                id=number,
                username=name,
                first_name=name,
                last_name="Stock",
                email=f"{name}@example.ru",
                active=True,
                password=generate_password_hash(PASSWORD, method="pbkdf2:sha256:1000"),
                roles=[role],
            )
        )
    pipeline = Pipeline(id=1, name="Stock", stages=[Stage(id=1, name="First", position=0)])
    db.session.add(pipeline)
    db.session.flush()
    for number in (1, 2):
        db.session.add(Contact(id=number, name=f"Client {number} of somebody"))
        db.session.flush()
        db.session.add(
            Deal(
                id=number,
                pipeline_id=1,
                stage_id=1,
                contact_id=number,
                responsible_id=number,
                comment=f"deal {number}",
            )
        )
