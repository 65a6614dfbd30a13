"""Audit, events for browsers, saved views, search words and the schedule's memory."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime, bytewise
from crm.models.staff import Employee
from crm.values.clock import utc_now


class AuditEntry(Model):
    """Who changed what: before and after."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_object", "object_type", "object_id", "at"),
        Index("ix_audit_at", "at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    action: Mapped[str] = mapped_column(String(60))
    object_type: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[int | None] = mapped_column(Integer)
    before: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    after: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    ip: Mapped[str | None] = mapped_column(String(64))

    actor: Mapped[Employee | None] = relationship()


class BrowserEvent(Model):
    """What open browsers are told: a kind and ids only, the page asks for the rest.

    The rows serve browsers that poll and those that reconnect; old ones are swept.
    """

    __tablename__ = "browser_event"
    __table_args__ = (Index("ix_browser_event_created", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    # Nobody in particular: everyone signed in is told.
    user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)


class SavedView(Timestamps, Model):
    """A named set of filters of a page."""

    __tablename__ = "saved_view"
    __table_args__ = (UniqueConstraint("user_id", "page", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    page: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(80))
    query: Mapped[str] = mapped_column(String(2000), default="")
    shared: Mapped[bool] = mapped_column(Boolean, default=False)


class SearchToken(Model):
    """One word of a name or an address, so that a prefix search walks an index."""

    __tablename__ = "search_token"
    __table_args__ = (
        Index("ix_search_token_token", "token", "kind", "object_id"),
        Index("ix_search_token_object", "kind", "object_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(bytewise(64))
    kind: Mapped[str] = mapped_column(String(10))
    object_id: Mapped[int] = mapped_column(Integer)


class JobSlot(Model):
    """Last slot of each scheduled job, so that a restart neither repeats nor loses one."""

    __tablename__ = "job_slot"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    slot_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
