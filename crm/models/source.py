"""Advertising sources, their groups and tags (domain §7)."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Boolean, Column, ForeignKey, Index, Numeric, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps
from crm.models.organization import Department


class SourceGroup(Model):
    """Folder of sources."""

    __tablename__ = "source_group"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)

    def __repr__(self) -> str:
        return self.name


class Tag(Model):
    """Coloured mark on sources."""

    __tablename__ = "tag"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    color: Mapped[str] = mapped_column(String(7), default="#3056d3")
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    def __repr__(self) -> str:
        return self.name


source_tag = Table(
    "source_tag",
    Model.metadata,
    Column("source_id", ForeignKey("source.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True),
)


class Source(Timestamps, Model):
    """Where a client came from, with the marks it is recognised by."""

    __tablename__ = "source"
    __table_args__ = (Index("ix_source_phone_key", "phone_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("source_group.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    channel: Mapped[str | None] = mapped_column(String(20))
    phone: Mapped[str | None] = mapped_column(String(32))
    phone_key: Mapped[str | None] = mapped_column(String(32))
    # Comma list as typed; compared without www. and in punycode.
    domains: Mapped[str | None] = mapped_column(Text)
    utm_source: Mapped[str | None] = mapped_column(String(255))
    utm_medium: Mapped[str | None] = mapped_column(String(255))
    utm_campaign: Mapped[str | None] = mapped_column(String(255))
    utm_content: Mapped[str | None] = mapped_column(String(255))
    exclude_from_stats: Mapped[bool] = mapped_column(Boolean, default=False)
    show_in_crm: Mapped[bool] = mapped_column(Boolean, default=True)
    manager_may_change: Mapped[bool] = mapped_column(Boolean, default=True)
    hide_from_other_departments: Mapped[bool] = mapped_column(Boolean, default=False)
    cost_per_month: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    cost_per_lead: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    icon: Mapped[str | None] = mapped_column(String(40))
    comment: Mapped[str | None] = mapped_column(Text)
    # «Не определён»: exists always, cannot be switched off or deleted.
    is_system: Mapped[bool] = mapped_column(Boolean, default=False)
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    group: Mapped[SourceGroup | None] = relationship()
    department: Mapped[Department | None] = relationship()
    tags: Mapped[list[Tag]] = relationship(secondary=source_tag)

    @property
    def utm(self) -> str:
        """The four marks in one line, «—» for an empty one; "" when the source has none."""
        marks = (self.utm_source, self.utm_medium, self.utm_campaign, self.utm_content)
        return " / ".join(mark or "—" for mark in marks) if any(marks) else ""

    def __repr__(self) -> str:
        return self.name
