"""Roles: page permissions, reach among objects, defaults of the extra permissions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flask_appbuilder.security.sqla.models import (
    PermissionView,
    Role,
    assoc_group_role,
    assoc_user_role,
)
from flask_babel import gettext as _
from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError

from crm.models import Action, ObjectKind, RoleGrant, RoleScope, Scope, db
from crm.operations import audit
from crm.operations.errors import Conflict, FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.grant_values import read_value
from crm.operations.transaction import operation
from crm.security.grants import Grant
from crm.security.principal import ADMIN_ROLE, Principal

Scopes = Mapping[tuple[ObjectKind, Action], Scope]
# Whoever changes these can give himself everything else.
_KEYS = frozenset({"Employees", "Roles"})
_CHANGES = frozenset({"can_add", "can_edit", "can_delete"})


def is_powerful(role: Role) -> bool:
    """Whether the role opens the way to any right: the administrator's, one that deals rights."""
    return role.name == ADMIN_ROLE or any(map(_is_key, role.permissions))


def _is_key(right: PermissionView) -> bool:
    return right.view_menu.name in _KEYS and right.permission.name in _CHANGES


@operation
def create_role(name: str, by: Principal | None) -> Role:
    """A role without rights. Raises ValidationErrors naming ``name``."""
    role = Role(name=_free_name(name, None))
    db.session.add(role)
    _flush()
    audit.record("create", role, by, after={"name": role.name})
    return role


@operation
def copy_role(role_id: int, name: str, by: Principal | None) -> Role:
    """A new role with all rights of another one."""
    source = _role(role_id)
    _guard(source, by, keeps=True)
    role = Role(name=_free_name(name, None), permissions=list(source.permissions))
    db.session.add(role)
    _flush()
    for scope in db.session.scalars(select(RoleScope).where(RoleScope.role_id == source.id)):
        db.session.add(
            RoleScope(role_id=role.id, kind=scope.kind, action=scope.action, scope=scope.scope)
        )
    for grant in db.session.scalars(select(RoleGrant).where(RoleGrant.role_id == source.id)):
        db.session.add(RoleGrant(role_id=role.id, code=grant.code, value=grant.value))
    audit.record("create", role, by, after={"name": role.name, "copied_from": source.name})
    return role


@operation
def save_role(
    role_id: int,
    by: Principal | None,
    *,
    name: str,
    rights: Collection[int],
    scopes: Scopes,
    grants: Mapping[str, Any],
) -> Role:
    """Replace everything a role gives.

    ``rights`` are ids of page permissions, ``grants`` maps a code in force to its typed value.
    Raises ValidationErrors naming ``name`` or ``grant-<code>``, Forbidden for the
    administrator's role and for a role that the person holds himself.
    """
    role = _role(role_id)
    _guard(role, by)
    before = describe(role)
    values, errors = _grant_values(grants)
    if errors:
        raise ValidationErrors(errors)
    role.name = _free_name(name, role.id)
    role.permissions = _rights(rights, by)
    _flush()
    _replace_scopes(role, scopes)
    _replace_grants(role, values)
    _record_difference(role, before, by)
    return role


@operation
def delete_role(role_id: int, by: Principal | None) -> None:
    """Delete a role that nobody holds; raises Conflict when somebody does."""
    role = _role(role_id)
    _guard(role, by)
    holders = db.session.scalar(
        select(func.count())
        .select_from(assoc_user_role)
        .where(assoc_user_role.c.role_id == role.id)
    )
    by_group = db.session.scalar(select(exists().where(assoc_group_role.c.role_id == role.id)))
    if holders or by_group:
        raise Conflict(_("Роль есть у сотрудников: сначала дайте им другую."))
    audit.record("delete", role, by, before=describe(role))
    for model in (RoleScope, RoleGrant):
        db.session.execute(delete(model).where(model.role_id == role.id))
    role.permissions = []
    db.session.flush()
    db.session.delete(role)


def describe(role: Role) -> dict[str, Any]:
    """What the role gives, for the journal."""
    rights = sorted(f"{r.view_menu.name}.{r.permission.name}" for r in role.permissions)
    scopes = db.session.scalars(select(RoleScope).where(RoleScope.role_id == role.id))
    grants = db.session.scalars(select(RoleGrant).where(RoleGrant.role_id == role.id))
    return {
        "name": role.name,
        "rights": rights,
        "scopes": {f"{s.kind}.{s.action}": str(s.scope) for s in scopes},
        "grants": {grant.code: grant.value for grant in grants},
    }


def _role(role_id: int) -> Role:
    role = db.session.get(Role, role_id)
    if role is None:
        raise NotFound(_("Такой роли нет."))
    return role


def _guard(role: Role, by: Principal | None, *, keeps: bool = False) -> None:
    """Refuse what would raise one's own rights; ``keeps``: the role itself stays as it is."""
    if role.name == ADMIN_ROLE and not keeps:
        raise Forbidden(_("Роль администратора не меняется: у неё есть все права."))
    if by is None or by.is_admin:
        return
    if is_powerful(role):
        raise Forbidden(_("Роль, которая раздаёт права, меняет только администратор."))
    own = select(
        exists().where(assoc_user_role.c.role_id == role.id, assoc_user_role.c.user_id == by.id)
    )
    if not keeps and db.session.scalar(own):
        raise Forbidden(_("Свою роль меняет другой человек."))


def _free_name(name: str, own_id: int | None) -> str:
    name = " ".join(name.split())
    if not name:
        raise ValidationErrors.one("name", _("Укажите название роли."))
    if len(name) > Role.name.type.length:
        raise ValidationErrors.one("name", _("Название длиннее 64 символов."))
    for role in db.session.scalars(select(Role)):
        if role.id != own_id and role.name.casefold() == name.casefold():
            raise ValidationErrors.one("name", _("Роль с таким названием уже есть."))
    return name


def _rights(ids: Collection[int], by: Principal | None) -> list[PermissionView]:
    rows = list(db.session.scalars(select(PermissionView).where(PermissionView.id.in_(ids))))
    if len(rows) != len(set(ids)):
        raise ValidationErrors.one("", _("Часть прав больше не существует. Обновите страницу."))
    if by is not None and not by.is_admin and any(map(_is_key, rows)):
        raise Forbidden(_("Право раздавать права даёт только администратор."))
    return rows


def _grant_values(grants: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    errors = []
    for code, raw in grants.items():
        try:
            values[code] = read_value(Grant(code), raw)
        except ValueError as error:
            errors.append(FieldError(f"grant-{code}", str(error)))
    return values, errors


def _replace_scopes(role: Role, scopes: Scopes) -> None:
    db.session.execute(delete(RoleScope).where(RoleScope.role_id == role.id))
    for (kind, action), scope in scopes.items():
        db.session.add(RoleScope(role_id=role.id, kind=kind, action=action, scope=scope))
    db.session.flush()


def _replace_grants(role: Role, values: Mapping[str, Any]) -> None:
    db.session.execute(delete(RoleGrant).where(RoleGrant.role_id == role.id))
    for code, value in values.items():
        db.session.add(RoleGrant(role_id=role.id, code=code, value=value))
    db.session.flush()


def _record_difference(role: Role, before: dict[str, Any], by: Principal | None) -> None:
    after = describe(role)
    changed = [key for key in after if after[key] != before[key]]
    if changed:
        audit.record(
            "update",
            role,
            by,
            before={key: before[key] for key in changed},
            after={key: after[key] for key in changed},
        )


def _flush() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        raise ValidationErrors.one("name", _("Роль с таким названием уже есть.")) from error
