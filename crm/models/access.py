"""Who may see and do what, beyond FAB's class permissions."""

from __future__ import annotations

import enum
from typing import Any

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import JSON, Boolean, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model


class Scope(enum.StrEnum):
    """How far a role reaches among objects of one kind."""

    NONE = "none"
    OWN = "own"
    TEAM = "team"
    DEPARTMENT = "department"
    OFFICE = "office"
    ALL = "all"


class ObjectKind(enum.StrEnum):
    """Kinds of objects that have row rights."""

    DEAL = "deal"
    CONTACT = "contact"
    LISTING = "listing"
    CALL = "call"
    APPEAL = "appeal"
    TASK = "task"


class Action(enum.StrEnum):
    """What is done with an object."""

    VIEW = "view"
    EDIT = "edit"
    DELETE = "delete"
    EXPORT = "export"


class RoleScope(Model):
    """Reach of a role for (kind, action); the widest of a person's roles counts."""

    __tablename__ = "role_scope"
    __table_args__ = (UniqueConstraint("role_id", "kind", "action"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    role_id: Mapped[int] = mapped_column(ForeignKey("ab_role.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(20))
    scope: Mapped[str] = mapped_column(String(20), default=Scope.OWN)

    role: Mapped[Role] = relationship()


class RoleGrant(Model):
    """Default of one extra permission for a role."""

    __tablename__ = "role_grant"
    __table_args__ = (UniqueConstraint("role_id", "code"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    role_id: Mapped[int] = mapped_column(ForeignKey("ab_role.id", ondelete="CASCADE"))
    code: Mapped[str] = mapped_column(String(40))
    value: Mapped[Any] = mapped_column(JSON, default=None, nullable=True)


class UserGrant(Model):
    """Personal exception from the role: allow or deny; it wins in both directions."""

    __tablename__ = "user_grant"
    __table_args__ = (UniqueConstraint("user_id", "code"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    code: Mapped[str] = mapped_column(String(40))
    allow: Mapped[bool] = mapped_column(Boolean)
    value: Mapped[Any] = mapped_column(JSON, default=None, nullable=True)
