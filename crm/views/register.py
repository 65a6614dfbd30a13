"""The list of all pages and APIs, in the order of the menu."""

from __future__ import annotations

from flask import current_app
from flask_appbuilder import AppBuilder
from flask_wtf import CSRFProtect

from crm.views.account import AccountView, limit_login
from crm.views.options import OptionsApi

VIEWS: tuple[type, ...] = (AccountView,)
APIS: tuple[type, ...] = (OptionsApi,)


def register_views(builder: AppBuilder, csrf: CSRFProtect) -> None:
    """Register everything; public endpoints of machines are exempt from CSRF."""
    for view in VIEWS:
        builder.add_view_no_menu(view)
    for api in APIS:
        builder.add_api(api)
    for view in builder.baseviews:
        if getattr(view, "machine_endpoint", False):
            csrf.exempt(view.blueprint)
    builder.sm.auth_view = next(v for v in builder.baseviews if isinstance(v, AccountView))
    limit_login(builder.sm.limiter, builder.sm.auth_view, current_app.config["LOGIN_LIMIT"])
