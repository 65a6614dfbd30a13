"""Employees: FAB's user on the same table, with the agency's fields."""

from __future__ import annotations

import datetime as dt

from flask_appbuilder.security.sqla.models import User
from sqlalchemy import Boolean, Date, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, UtcDateTime
from crm.models.organization import Department, Office
from crm.values.clock import utc_now


class Employee(User):
    """A person with a login. Lives in ``ab_user``, so FAB's roles apply as they are."""

    __tablename__ = "ab_user"
    __table_args__ = {"extend_existing": True}

    middle_name: Mapped[str | None] = mapped_column(String(64))
    gender: Mapped[str | None] = mapped_column(String(1))
    birth_date: Mapped[dt.date | None] = mapped_column(Date)
    phone: Mapped[str | None] = mapped_column(String(32))
    position: Mapped[str | None] = mapped_column(String(120))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"), index=True)
    office_id: Mapped[int | None] = mapped_column(ForeignKey("office.id"), index=True)
    # Head: the chain of heads gives subordinates. Cycles are refused on saving.
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"), index=True)
    photo_key: Mapped[str | None] = mapped_column(String(255))
    on_shift: Mapped[bool | None] = mapped_column(Boolean, default=True)
    locale: Mapped[str | None] = mapped_column(String(8))
    is_demo: Mapped[bool | None] = mapped_column(Boolean, default=False)

    department: Mapped[Department | None] = relationship(lazy="joined", join_depth=1)
    office: Mapped[Office | None] = relationship(lazy="select")
    manager: Mapped[Employee | None] = relationship(
        "Employee", remote_side="Employee.id", foreign_keys=[manager_id], lazy="select"
    )

    @property
    def full_name(self) -> str:
        """«Имя Фамилия», as people are called at work."""
        return f"{self.first_name} {self.last_name}".strip() or self.username

    def get_full_name(self) -> str:
        return self.full_name

    def get_id(self) -> str:
        """Identity kept in the cookie: the user and the sign-in it belongs to."""
        token = getattr(self, "auth_token", None)
        return f"{self.id}.{token}" if token else str(self.id)

    def __repr__(self) -> str:
        return self.full_name


class AuthSession(Model):
    """One sign-in. The cookie is worth nothing once this row is gone."""

    __tablename__ = "auth_session"
    __table_args__ = (Index("ix_auth_session_user_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # SHA-256 of the random token in the cookie: a stolen database opens no session.
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    seen_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ip: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None] = mapped_column(String(255))
