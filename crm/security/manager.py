"""FAB's security manager on our employees, our sessions and our rights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import current_app, g, request
from flask_appbuilder.security.sqla.manager import SecurityManager
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, current_user

from crm.models import Employee
from crm.security import sessions
from crm.security.principal import current_principal
from crm.security.requests import MarkedViewsLimiter


class CrmSecurityManager(SecurityManager):  # type: ignore[misc]
    """Loads a person's permissions once a request; knows no anonymous permissions."""

    user_model = Employee

    def register_views(self) -> None:
        """FAB's own pages are not registered: the application brings its own.

        They would open holes (token login without a limit, password change without
        the current one, roles shown as one text).
        """

    def create_limiter(self, app: Any) -> Limiter:
        """The limiter of sign-ins; no other view has a limit of its own."""
        limiter = MarkedViewsLimiter(
            key_func=app.config.get("RATELIMIT_KEY_FUNC", get_remote_address)
        )
        limiter.init_app(app)
        return limiter

    def create_login_manager(self, app: Any) -> LoginManager:
        """Flask-Login with our loader and no «remember me» cookie."""
        manager = LoginManager(app)
        manager.login_view = "AccountView.login"
        manager.login_message = None
        manager.session_protection = None
        manager.user_loader(self.load_user)
        return manager

    def load_user(self, pk: Any) -> Employee | None:
        """The person behind the cookie's identity, if the sign-in is still alive."""
        return sessions.find_user(str(pk), idle_hours=current_app.config["SESSION_IDLE_HOURS"])

    def load_user_jwt(self, _header: Any, _data: Any) -> None:
        """No token sign-in: the stock one has neither limit nor revocation."""
        return

    def has_access(self, permission_name: str, view_name: str) -> bool:
        """Whether the signed-in person has FAB's permission; nobody else ever has."""
        if not current_user.is_authenticated:
            return False
        return current_principal().may_open(permission_name, view_name)

    def is_item_public(self, permission_name: str, view_name: str) -> bool:  # noqa: ARG002
        """Nothing is open to visitors by permission: public routes are marked as such."""
        return False

    def _has_view_access(self, _user: Any, permission_name: str, view_name: str) -> bool:
        return current_principal().may_open(permission_name, view_name)

    def _get_user_permission_view_menus(
        self, user: Any, permission_name: str, view_menus_name: Iterable[str]
    ) -> set[str]:
        if user is None or not current_user.is_authenticated:
            return set()
        principal = current_principal()
        return {name for name in view_menus_name if principal.may_open(permission_name, name)}

    @staticmethod
    def before_request() -> None:
        # Static files must not cost a query for the person.
        if request.endpoint != "static":
            g.user = current_user
