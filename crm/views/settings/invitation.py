"""The page behind a one-time link: a new employee sets his own password."""

from __future__ import annotations

from flask import flash, redirect, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import PasswordField
from wtforms.validators import EqualTo, InputRequired

from crm.operations import invitations
from crm.operations.errors import ValidationErrors
from crm.views.base import CrmView, expose, public
from crm.views.forms import PageForm


class InvitationForm(PageForm):
    """The password, twice."""

    password = PasswordField(_l("Пароль"), validators=[InputRequired()])
    repeat = PasswordField(
        _l("Пароль ещё раз"), validators=[EqualTo("password", message=_l("Пароли не совпадают."))]
    )


class InvitationView(CrmView):
    """`/invite/<token>`."""

    route_base = "/invite"
    class_permission_name = "Account"

    @expose("/<string:token>", methods=["GET", "POST"])
    @public
    def accept(self, token: str) -> Response | str:
        """Set the password; the link opens nothing afterwards."""
        person = invitations.invited(token)
        form = InvitationForm()
        if form.validate_on_submit():
            try:
                invitations.accept(token, form.password.data or "")
            except ValidationErrors as error:
                form.password.errors = [complaint.message for complaint in error.errors]
            else:
                flash(
                    _("Пароль задан. Войдите с логином %(login)s.", login=person.username),
                    "success",
                )
                return redirect(url_for("AccountView.login"))
        return self.page("account/invitation.html", person=person, form=form)
