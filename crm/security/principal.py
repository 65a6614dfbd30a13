"""A person with everything that decides what he may do, loaded in a few queries.

In a request it is loaded once and kept in ``g``; jobs and tests load their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import g, has_request_context
from flask_appbuilder.security.sqla.models import (
    Permission,
    PermissionView,
    Role,
    ViewMenu,
    assoc_group_role,
    assoc_permissionview_role,
    assoc_user_group,
    assoc_user_role,
)
from flask_login import current_user
from sqlalchemy import JSON, Select, case, cast, literal, null, or_, select, union, union_all
from sqlalchemy.orm import aliased

from crm.models import (
    Action,
    Employee,
    ObjectKind,
    RoleGrant,
    RoleScope,
    Scope,
    Stage,
    UserGrant,
    db,
)
from crm.security.grants import Grant

ADMIN_ROLE = "Администратор"
_WIDTH = {scope: width for width, scope in enumerate(Scope)}


@dataclass(slots=True)
class Principal:
    """Who asks: identity, place in the agency, permissions, scopes and grants."""

    id: int
    department_id: int | None = None
    office_id: int | None = None
    is_admin: bool = False
    permissions: frozenset[tuple[str, str]] = frozenset()
    scopes: dict[tuple[str, str], Scope] = field(default_factory=dict)
    # The person and all subordinates, at any depth.
    team_ids: tuple[int, ...] = ()
    grants: dict[str, tuple[bool, Any]] = field(default_factory=dict)
    # Stages whose deals everybody sees, everybody edits, or ordinary employees never see.
    # Ids, not a subquery in each condition: an index on the stage can then be used.
    open_stages: frozenset[int] = frozenset()
    full_stages: frozenset[int] = frozenset()
    hidden_stages: frozenset[int] = frozenset()

    def may_open(self, permission: str, view: str) -> bool:
        """FAB's class permission."""
        return self.is_admin or (permission, view) in self.permissions

    def scope(self, kind: ObjectKind, action: Action = Action.VIEW) -> Scope:
        """How far the person reaches among objects of ``kind``."""
        if self.is_admin:
            return Scope.ALL
        return self.scopes.get((kind, action), Scope.NONE)

    def is_ordinary(self, kind: ObjectKind = ObjectKind.DEAL) -> bool:
        """Works only with his own objects: an ordinary employee, not a head."""
        return self.scope(kind) in (Scope.NONE, Scope.OWN)

    def can(self, grant: Grant) -> bool:
        """Whether the extra permission is in force (for denials: the denial is)."""
        return self.grants.get(grant, (False, None))[0]

    def grant_value(self, grant: Grant) -> Any:
        """Value of a limiting grant; None when it is not in force."""
        in_force, value = self.grants.get(grant, (False, None))
        return value if in_force else None


def load_principal(user: Employee) -> Principal:
    """Read all rights of ``user`` (3 queries)."""
    principal = Principal(id=user.id, department_id=user.department_id, office_id=user.office_id)
    _read_permissions(principal)
    _read_rules(principal)
    principal.team_ids = _team_ids(user.id)
    return principal


def current_principal() -> Principal:
    """The signed-in person's rights, loaded once a request.

    Raises RuntimeError outside a request and for an anonymous visitor: nothing
    that needs rights may run for nobody.
    """
    if not has_request_context() or not current_user.is_authenticated:
        raise RuntimeError("there is nobody signed in")
    cached: Principal | None = g.get("principal")
    if cached is None or cached.id != current_user.id:
        cached = g.principal = load_principal(current_user)
    return cached


def _role_ids(user_id: int) -> Select[tuple[int]]:
    direct = select(assoc_user_role.c.role_id).where(assoc_user_role.c.user_id == user_id)
    by_group = (
        select(assoc_group_role.c.role_id)
        .join(assoc_user_group, assoc_user_group.c.group_id == assoc_group_role.c.group_id)
        .where(assoc_user_group.c.user_id == user_id)
    )
    return select(union(direct, by_group).subquery().c.role_id)


def _read_permissions(principal: Principal) -> None:
    roles = _role_ids(principal.id)
    by_role = (
        select(Permission.name, ViewMenu.name)
        .select_from(PermissionView)
        .join(Permission, PermissionView.permission_id == Permission.id)
        .join(ViewMenu, PermissionView.view_menu_id == ViewMenu.id)
        .join(
            assoc_permissionview_role,
            assoc_permissionview_role.c.permission_view_id == PermissionView.id,
        )
        .where(assoc_permissionview_role.c.role_id.in_(roles))
        .distinct()
    )
    admin = select(literal("role"), Role.name).where(
        Role.id.in_(_role_ids(principal.id)), Role.name == ADMIN_ROLE
    )
    rows = {(row[0], row[1]) for row in db.session.execute(union_all(by_role, admin))}
    principal.is_admin = ("role", ADMIN_ROLE) in rows
    principal.permissions = frozenset(rows)


def _read_rules(principal: Principal) -> None:
    """Scopes and grants of the roles, personal grants, stages with options: one query."""
    roles = _role_ids(principal.id)
    nothing = cast(null(), JSON)
    scopes = select(
        literal("scope"), RoleScope.kind, RoleScope.action, RoleScope.scope, nothing
    ).where(RoleScope.role_id.in_(roles))
    by_role = select(
        literal("role"), RoleGrant.code, literal(""), literal("1"), RoleGrant.value
    ).where(RoleGrant.role_id.in_(_role_ids(principal.id)))
    personal = select(
        literal("user"),
        UserGrant.code,
        literal(""),
        cast(UserGrant.allow, RoleScope.scope.type),
        UserGrant.value,
    ).where(UserGrant.user_id == principal.id)
    stages = select(
        literal("stage"),
        cast(Stage.id, RoleScope.scope.type),
        case((Stage.open_full, "full"), (Stage.open_view, "view"), else_=""),
        case((Stage.available_to_manager, ""), else_="hidden"),
        nothing,
    ).where(or_(Stage.open_full, Stage.open_view, ~Stage.available_to_manager))
    own: dict[str, tuple[bool, Any]] = {}
    options: list[tuple[int, str, str]] = []
    for tag, name, action, text, value in db.session.execute(
        union_all(scopes, by_role, personal, stages)
    ):
        if tag == "scope":
            _widen(principal, name, action, Scope(text))
        elif tag == "role":
            principal.grants[name] = (True, value)
        elif tag == "stage":
            options.append((int(name), action, text))
        else:
            own[name] = (text in ("1", "true", "t"), value)
    # The personal exception wins over the role in both directions.
    principal.grants.update(own)
    principal.open_stages = frozenset(stage for stage, opened, _hidden in options if opened)
    principal.full_stages = frozenset(s for s, opened, _hidden in options if opened == "full")
    principal.hidden_stages = frozenset(stage for stage, _opened, hidden in options if hidden)


def _widen(principal: Principal, kind: str, action: str, scope: Scope) -> None:
    key = (kind, action)
    if _WIDTH[scope] >= _WIDTH[principal.scopes.get(key, Scope.NONE)]:
        principal.scopes[key] = scope


# Made once: an alias of a wide table costs more than the query that it is in.
_BELOW = aliased(Employee)


def _team_ids(user_id: int) -> tuple[int, ...]:
    team = select(Employee.id).where(Employee.id == user_id).cte("team", recursive=True)
    # UNION, not UNION ALL: a cycle of heads, should one slip in, ends here.
    team = team.union(select(_BELOW.id).where(_BELOW.manager_id == team.c.id))
    return tuple(db.session.scalars(select(team.c.id)))
