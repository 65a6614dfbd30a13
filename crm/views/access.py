"""Who may call a route. Every route carries exactly one of these marks; a test walks them all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Response, abort, redirect, request, url_for
from flask_appbuilder.const import PERMISSION_PREFIX
from flask_login import current_user

from crm.views.errors import wants_json

Handler = Callable[..., Any]
PUBLIC, SIGNED_IN, PERMISSION = "public", "signed_in", "permission"


def public(handler: Handler) -> Handler:
    """Anybody: operators, sites, portals, the login page. The handler guards itself."""
    handler.kv_access = PUBLIC  # type: ignore[attr-defined]
    return handler


def signed_in(handler: Handler) -> Handler:
    """Any employee with a live sign-in."""

    @functools.wraps(handler)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not current_user.is_authenticated:
            return ask_to_sign_in()
        return handler(self, *args, **kwargs)

    wrapped.kv_access = SIGNED_IN  # type: ignore[attr-defined]
    return wrapped


def requires(permission: str) -> Callable[[Handler], Handler]:
    """An employee whose roles give ``can_<permission>`` on the view's class permission."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not current_user.is_authenticated:
                return ask_to_sign_in()
            name = self.method_permission_name.get(handler.__name__, permission)
            if not self.appbuilder.sm.has_access(
                PERMISSION_PREFIX + name, self.class_permission_name
            ):
                abort(403)
            return handler(self, *args, **kwargs)

        # FAB collects the class's permissions from this attribute.
        wrapped._permission_name = permission  # type: ignore[attr-defined]
        wrapped.kv_access = PERMISSION  # type: ignore[attr-defined]
        return wrapped

    return decorate


def ask_to_sign_in() -> Response:
    """Login page that comes back here, or 401 for a program."""
    if wants_json():
        abort(401)
    target = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("AccountView.login", next=target))  # type: ignore[return-value]


def local_path(target: str | None, default: str = "/") -> str:
    """``target`` when it is a path of this site, else ``default``: no open redirect.

    Browsers read a backslash as a slash, so it is refused along with ``//host``.
    """
    if not target or not target.startswith("/") or target.startswith("//"):
        return default
    if "\\" in target or any(char < " " for char in target):
        return default
    parts = urlsplit(target)
    return default if parts.scheme or parts.netloc else target
