"""Roles: pages across rights, reach among objects, defaults of the extra permissions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import abort, flash, redirect, request, url_for
from flask_appbuilder.security.sqla.models import PermissionView, Role
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm.models import Action, ObjectKind, Scope, db
from crm.operations import roles
from crm.operations.errors import Conflict, ValidationErrors
from crm.operations.grant_values import LISTS, NUMBERS
from crm.reports import staff as report
from crm.security.grants import CATALOGUE
from crm.security.principal import ADMIN_ROLE, current_principal
from crm.views.base import CrmView, expose, requires
from crm.views.labels import permission_label, view_label
from crm.views.settings.names import ACTIONS, OBJECT_KINDS, SCOPES

_ORDER = ("can_list", "can_show", "can_add", "can_edit", "can_delete", "can_export")


@dataclass(slots=True)
class Area:
    """A page of the system with its rights by name."""

    name: str
    label: str
    rights: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class RoleForm:
    """What the editor shows: as stored, or as typed when it was refused."""

    name: str
    rights: set[int]
    scopes: dict[tuple[str, str], str]
    grants: dict[str, Any]
    errors: dict[str, str] = field(default_factory=dict)


class RoleView(CrmView):
    """`/roles`."""

    route_base = "/roles"
    class_permission_name = "Roles"

    @expose("/", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """All roles with the number of their people."""
        roles_ = report.roles()
        return self.page(
            "settings/roles.html",
            roles=roles_,
            choices=[(role.id, role.name) for role in roles_],
            sizes=report.role_sizes(),
        )

    @expose("/<int:pk>", methods=["GET"])
    @requires("list")
    def edit(self, pk: int) -> str:
        """The editor of one role; the administrator's is shown only."""
        role = _role(pk)
        form = RoleForm(
            role.name,
            {right.id for right in role.permissions},
            report.role_scopes(role.id),
            report.role_grants([role.id]),
        )
        return self._editor(role, form)

    def _editor(self, role: Role, form: RoleForm) -> str:
        areas, columns = _areas(report.page_permissions())
        person = current_principal()
        return self.page(
            "settings/role.html",
            role=role,
            form=form,
            areas=areas,
            columns=[(name, permission_label(name)) for name in columns],
            kinds=OBJECT_KINDS,
            actions=ACTIONS,
            scopes=SCOPES,
            catalogue=CATALOGUE,
            options=report.grant_options(),
            numbers=NUMBERS,
            lists=LISTS,
            is_admin_role=role.name == ADMIN_ROLE,
            may_save=person.may_open("can_edit", "Roles") and role.name != ADMIN_ROLE,
        )

    @expose("/add", methods=["POST"])
    @requires("add")
    def add(self) -> Response:
        """A new role: empty, or a copy of another one."""
        name = request.form.get("name", "")
        source = request.form.get("copy_of", "")
        try:
            if source.isdecimal():
                made = roles.copy_role(int(source), name, current_principal())
            else:
                made = roles.create_role(name, current_principal())
        except ValidationErrors as error:
            flash(error.message, "danger")
            return redirect(url_for("RoleView.index"))
        flash(_("Роль создана. Отметьте, что она разрешает."), "success")
        return redirect(url_for("RoleView.edit", pk=made.id))

    @expose("/<int:pk>", methods=["POST"])
    @requires("edit")
    def save(self, pk: int) -> Response | str:
        """Replace everything the role gives."""
        role = _role(pk)
        form = _typed()
        scopes = {
            (ObjectKind(kind), Action(action)): Scope(scope)
            for (kind, action), scope in form.scopes.items()
        }
        try:
            roles.save_role(
                pk,
                current_principal(),
                name=form.name,
                rights=form.rights,
                scopes=scopes,
                grants=form.grants,
            )
        except ValidationErrors as error:
            form.errors = {one.field: one.message for one in error.errors}
            return self._editor(role, form)
        flash(_("Роль сохранена. Права действуют сразу."), "success")
        return redirect(url_for("RoleView.edit", pk=pk))

    @expose("/<int:pk>/delete", methods=["POST"])
    @requires("delete")
    def delete(self, pk: int) -> Response:
        """Delete a role of nobody."""
        try:
            roles.delete_role(pk, current_principal())
        except Conflict as error:
            flash(error.message, "danger")
            return redirect(url_for("RoleView.edit", pk=pk))
        flash(_("Роль удалена."), "success")
        return redirect(url_for("RoleView.index"))


def _role(pk: int) -> Role:
    role: Role | None = db.session.get(Role, pk)
    if role is None:
        abort(404)
    return role


def _areas(rights: list[PermissionView]) -> tuple[list[Area], list[str]]:
    """Known pages down, rights across; what has no Russian name is not ours to deal out."""
    areas: dict[str, Area] = {}
    names: set[str] = set()
    for right in rights:
        name = right.view_menu.name
        if view_label(name) == name:
            continue
        area = areas.setdefault(name, Area(name, view_label(name)))
        area.rights[right.permission.name] = right.id
        names.add(right.permission.name)
    columns = [name for name in _ORDER if name in names] + sorted(names - set(_ORDER))
    return sorted(areas.values(), key=lambda area: area.label), columns


def _typed() -> RoleForm:
    form = request.form
    rights = {int(value) for value in form.getlist("rights") if value.isdecimal()}
    scopes = {
        (kind.value, action.value): form.get(f"scope-{kind}-{action}", Scope.NONE.value)
        for kind in ObjectKind
        for action in Action
    }
    if any(scope not in set(Scope) for scope in scopes.values()):
        abort(400)
    grants = {
        info.code.value: _value(info.code) for info in CATALOGUE if form.get(f"grant-{info.code}")
    }
    return RoleForm(form.get("name", ""), rights, scopes, grants)


def _value(code: str) -> Any:
    values = request.form.getlist(f"grant-{code}-value")
    return values if code in LISTS else "".join(values[:1])
