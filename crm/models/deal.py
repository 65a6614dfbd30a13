"""Deals and the way they went through the stages."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime
from crm.models.contact import Contact
from crm.models.organization import Department
from crm.models.pipeline import LossReason, Pipeline, Stage
from crm.models.source import Source
from crm.models.staff import Employee
from crm.values.clock import utc_now


class MoveHow(enum.StrEnum):
    """What moved a deal to a stage."""

    MANUAL = "manual"
    RULE = "rule"
    API = "api"
    IMPORT = "import"
    INTAKE = "intake"
    UNDO = "undo"


class Deal(Timestamps, Model):
    """Work with one need of one client in one pipeline. Its number is its id."""

    __tablename__ = "deal"
    __table_args__ = (
        # Board: newest deals of each stage, whoever may see all of them.
        Index(
            "ix_deal_board",
            "pipeline_id",
            "stage_id",
            "stage_entered_at",
            "id",
            postgresql_where=text("deleted_at IS NULL"),
            sqlite_where=text("deleted_at IS NULL"),
        ),
        # Board: counts and sums of the stages are read from the index alone.
        Index(
            "ix_deal_figures",
            "pipeline_id",
            "stage_id",
            "responsible_id",
            "department_id",
            "amount",
            "next_task_due",
            "is_saved",
            postgresql_where=text("deleted_at IS NULL"),
            sqlite_where=text("deleted_at IS NULL"),
        ),
        # Board and list of one manager (or a team of them).
        Index("ix_deal_responsible", "responsible_id", "pipeline_id", "stage_id"),
        # Intake: the contact's open deals.
        Index("ix_deal_contact", "contact_id"),
        # List: the newest first, keyset by (created_at, id).
        Index("ix_deal_created", "created_at", "id"),
        Index("ix_deal_amount", "amount", "id"),
        Index("ix_deal_source", "source_id"),
        Index("ix_deal_department", "department_id"),
        # Counter of unprocessed deals in the menu: a handful of rows among many.
        Index(
            "ix_deal_unprocessed",
            "created_at",
            # As each database gets the condition: SQLite compares the words of the two.
            postgresql_where=text("NOT is_saved"),
            sqlite_where=text("is_saved = 0"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    stage_id: Mapped[int] = mapped_column(ForeignKey("stage.id"))
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"))
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    listing_id: Mapped[int | None] = mapped_column(ForeignKey("listing.id"))
    channel: Mapped[str] = mapped_column(String(20), default="manual")

    amount: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    payment: Mapped[str | None] = mapped_column(String(255))
    # What the client looks for: need.kind, rooms, area_from, area_to, districts, when.
    need: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    need_text: Mapped[str | None] = mapped_column(String(255))
    comment: Mapped[str | None] = mapped_column(Text)

    is_saved: Mapped[bool] = mapped_column(Boolean, default=True)
    processed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    first_appeal_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    stage_entered_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    last_activity_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    # Copies of the nearest undone task, kept by operations.tasks: the board asks no second table.
    next_task_due: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    next_task_text: Mapped[str | None] = mapped_column(String(255))

    closed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    loss_reason_id: Mapped[int | None] = mapped_column(ForeignKey("loss_reason.id"))
    won_amount: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    won_on: Mapped[dt.date | None] = mapped_column(Date)
    commission: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))

    deleted_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(Integer, default=1)

    pipeline: Mapped[Pipeline] = relationship()
    stage: Mapped[Stage] = relationship()
    contact: Mapped[Contact | None] = relationship()
    responsible: Mapped[Employee | None] = relationship(foreign_keys=[responsible_id])
    author: Mapped[Employee | None] = relationship(foreign_keys=[author_id])
    department: Mapped[Department | None] = relationship()
    source: Mapped[Source | None] = relationship()
    loss_reason: Mapped[LossReason | None] = relationship()

    __mapper_args__ = {"version_id_col": version}

    def __repr__(self) -> str:
        return f"Сделка № {self.id}"


class StageHistory(Model):
    """One move of a deal; the first row is the stage it was born on."""

    __tablename__ = "stage_history"
    __table_args__ = (Index("ix_stage_history_deal", "deal_id", "moved_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deal.id", ondelete="CASCADE"))
    from_stage_id: Mapped[int | None] = mapped_column(ForeignKey("stage.id"))
    to_stage_id: Mapped[int] = mapped_column(ForeignKey("stage.id"))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    moved_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    how: Mapped[str] = mapped_column(String(20), default=MoveHow.MANUAL)
    unchecked: Mapped[bool] = mapped_column(Boolean, default=False)
    # A move taken back does not count as «has been on this stage».
    undone: Mapped[bool] = mapped_column(Boolean, default=False)

    from_stage: Mapped[Stage | None] = relationship(foreign_keys=[from_stage_id])
    to_stage: Mapped[Stage] = relationship(foreign_keys=[to_stage_id])
    actor: Mapped[Employee | None] = relationship()
