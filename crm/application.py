"""Joins the parts: settings, database, framework, views, shell, headers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from flask_appbuilder import AppBuilder
from flask_migrate import Migrate
from flask_wtf import CSRFProtect
from redis import Redis
from sqlalchemy import event
from sqlalchemy.engine import Engine
from werkzeug.middleware.proxy_fix import ProxyFix

import config
from crm import embedded
from crm.models import Model, db
from crm.security.manager import CrmSecurityManager
from crm.security.requests import CookieSessions
from crm.values.vault import vault
from crm.views import register, shell
from crm.views.arguments import RowNumber, Text
from crm.views.base import HomeView
from crm.views.errors import register_error_pages
from crm.views.headers import register_headers
from crm.views.json_bodies import PlainJson
from crm.views.template_texts import LanguageEnvironment
from crm.views.widgets import install_widgets

ROOT = Path(__file__).resolve().parent.parent
csrf = CSRFProtect()
migrate = Migrate()


class CrmAppBuilder(AppBuilder):  # type: ignore[misc]
    """FAB without its own pages: each of them is either replaced or not wanted."""

    def _add_admin_views(self) -> None:
        self._indexview = self.add_view_no_menu(self.indexview)
        self.sm.register_views()


def build(overrides: Mapping[str, Any]) -> Flask:
    """Make the application; see ``config.py`` for the settings."""
    app = Flask(
        "crm",
        root_path=str(ROOT / "crm"),
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
    )
    app.json = PlainJson(app)
    app.jinja_environment = LanguageEnvironment
    app.session_interface = CookieSessions()
    # Before any rule is made: each of them keeps the converter that it was made with.
    app.url_map.converters |= {"int": RowNumber, "string": Text, "default": Text}
    app.config.update(config.load())
    app.config.update(overrides)
    _queue_settings(app)
    vault.configure(app.config["ENCRYPTION_KEYS"])
    if app.config["PROXY_HOPS"]:
        hops = app.config["PROXY_HOPS"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    db.init_app(app)
    migrate.init_app(
        app,
        db,
        directory=str(ROOT / "migrations"),
        render_as_batch=True,
        compare_type=True,
        render_item=_render_item,
    )
    app.extensions["redis"] = _redis(app.config["REDIS_URL"])
    install_widgets()
    with app.app_context():
        builder = CrmAppBuilder(
            app, db.session, indexview=HomeView, security_manager_class=CrmSecurityManager
        )
        csrf.init_app(app)
        shell.install(app)
        register_headers(app)
        register_error_pages(app)
        register.register_views(builder, csrf)
    return app


def _queue_settings(app: Flask) -> None:
    """Without a configured Redis the embedded one of this instance is meant."""
    url = app.config["REDIS_URL"] or embedded.redis_url(Path(app.config["INSTANCE_DIR"]), {})
    app.config["REDIS_URL"] = url
    app.config.setdefault("RATELIMIT_STORAGE_URI", embedded.limiter_url(url))


def _redis(url: str) -> Redis:
    """Pooled client that gives up soon: a page must not wait for a dead queue."""
    return Redis.from_url(
        url,
        socket_connect_timeout=0.5,
        socket_timeout=2,
        health_check_interval=30,
    )


def _render_item(kind: str, obj: Any, _context: Any) -> Any:
    """Spell our column types in migrations as plain SQLAlchemy ones.

    A migration must not import the application's code of a later day.
    """
    if kind != "type":
        return False
    spelled = {
        "UtcDateTime": "sa.DateTime(timezone=True)",
        "EncryptedJSON": "sa.Text()",
    }
    return spelled.get(type(obj).__name__, False)


@event.listens_for(Engine, "connect")
def _tune_sqlite(connection: Any, _record: Any) -> None:
    """WAL, foreign keys and a busy time-out; other databases are left alone."""
    if not isinstance(connection, sqlite3.Connection):
        return
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "cache_size=-32000",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


__all__ = ["Model", "build"]
