"""Login, logout, language, password, profile."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, redirect, request, session, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_limiter import Limiter
from flask_login import current_user, login_user, logout_user
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

from crm.integrations.addresses import holder
from crm.operations import accounts
from crm.operations.errors import ValidationErrors
from crm.views.access import local_path
from crm.views.base import CrmView, expose, public, signed_in
from crm.views.forms import PageForm


class LoginForm(PageForm):
    """Login or mail address, and the password."""

    username = StringField(_l("Логин или почта"), validators=[InputRequired(), Length(max=255)])
    password = PasswordField(_l("Пароль"), validators=[InputRequired(), Length(max=256)])


class PasswordForm(PageForm):
    """Change of one's own password; the current one is asked."""

    current_password = PasswordField(_l("Текущий пароль"), validators=[InputRequired()])
    password = PasswordField(_l("Новый пароль"), validators=[InputRequired()])
    repeat = PasswordField(
        _l("Новый пароль ещё раз"),
        validators=[EqualTo("password", message=_l("Пароли не совпадают."))],
    )


class AccountView(CrmView):
    """What a person does with his own account."""

    route_base = ""
    class_permission_name = "Account"
    default_view = "login"

    @expose("/login/", methods=["GET", "POST"])
    @public
    def login(self) -> Response | str:
        """Sign in; the same answer for every wrong pair."""
        target = local_path(request.args.get("next"))
        if current_user.is_authenticated:
            return redirect(target)
        form = LoginForm()
        if form.validate_on_submit() and self._sign_in(form):
            return redirect(target)
        return self.page("appbuilder/general/security/login_db.html", form=form, title=_("Вход"))

    def _sign_in(self, form: LoginForm) -> bool:
        found = accounts.sign_in(
            form.username.data or "",
            form.password.data or "",
            hours=current_app.config["SESSION_HOURS"],
            ip=request.remote_addr,
            user_agent=request.user_agent.string,
        )
        if found is None:
            flash(_("Логин или пароль не подходят."), "danger")
            return False
        user, token = found
        locale = user.locale or session.get("locale")
        # Nothing of the visitor's old session survives into the signed-in one.
        session.clear()
        session.permanent = True
        if locale:
            session["locale"] = locale
        user.auth_token = token
        login_user(user)
        return True

    @expose("/logout/", methods=["POST"])
    @signed_in
    def logout(self) -> Response:
        """Sign out on the server too."""
        token = current_user.get_id().partition(".")[2]
        accounts.sign_out(current_user, token)
        locale = session.get("locale")
        logout_user()
        session.clear()
        if locale:
            session["locale"] = locale
        return redirect(url_for("AccountView.login"))

    @expose("/lang/<string:locale>", methods=["POST"])
    @public
    def language(self, locale: str) -> Response:
        """Switch the language and stay on the page."""
        if locale in current_app.config["LANGUAGES"]:
            session["locale"] = locale
            if current_user.is_authenticated:
                accounts.set_locale(current_user, locale)
        return redirect(local_path(request.form.get("next")))

    @expose("/profile", methods=["GET"])
    @signed_in
    def profile(self) -> str:
        """Own data and the door to the password."""
        return self.page("account/profile.html", person=current_user, form=PasswordForm())

    @expose("/profile/password", methods=["POST"])
    @signed_in
    def password(self) -> Response | str:
        """Change one's own password."""
        form = PasswordForm()
        if form.validate_on_submit() and self._change(form):
            flash(_("Пароль изменён. Остальные входы завершены."), "success")
            return redirect(url_for("AccountView.profile"))
        return self.page("account/profile.html", person=current_user, form=form)

    def _change(self, form: PasswordForm) -> bool:
        token = current_user.get_id().partition(".")[2]
        try:
            accounts.change_password(
                current_user, form.current_password.data, form.password.data, keep_token=token
            )
        except ValidationErrors as error:
            for complaint in error.errors:
                field = form._fields[complaint.field]
                field.errors = [*field.errors, complaint.message]
            return False
        return True


def limit_login(limiter: Limiter, rule: str) -> None:
    """Attempts by address and by account; counted in Redis for all processes alike."""
    guarded = current_app.view_functions["AccountView.login"]
    by_address = limiter.limit(rule, key_func=_address_key, methods=["POST"])(guarded)
    by_account = limiter.limit("10 per 5 minutes", key_func=_account_key, methods=["POST"])
    limited: Any = by_account(by_address)
    current_app.view_functions["AccountView.login"] = limited


def _address_key() -> str:
    return holder(request.remote_addr or "")


def _account_key() -> str:
    return "login:" + request.form.get("username", "").strip().lower()[:255]
