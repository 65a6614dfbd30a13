"""Pipelines, their stages, preset tasks and required fields (domain §3-4)."""

from __future__ import annotations

import enum

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps
from crm.models.organization import Department


class DealSide(enum.StrEnum):
    """Whom the agency serves in the pipeline's deals."""

    BUYER = "buyer"
    SELLER = "seller"
    TENANT = "tenant"
    LANDLORD = "landlord"
    MORTGAGE = "mortgage"
    OTHER = "other"


class StageType(enum.StrEnum):
    """Meaning of a stage for the rules (domain §3.1)."""

    IN_WORK = "in_work"
    SUCCESS = "success"
    REFUSAL = "refusal"
    NON_TARGET = "non_target"
    ARCHIVE = "archive"

    @property
    def is_open(self) -> bool:
        return self is StageType.IN_WORK


class TaskKind(enum.StrEnum):
    """What kind of work a task is."""

    CALL = "call"
    MEETING = "meeting"
    SHOWING = "showing"
    LETTER = "letter"
    OTHER = "other"


pipeline_department = Table(
    "pipeline_department",
    Model.metadata,
    Column("pipeline_id", ForeignKey("pipeline.id", ondelete="CASCADE"), primary_key=True),
    Column("department_id", ForeignKey("department.id", ondelete="CASCADE"), primary_key=True),
)


class Pipeline(Timestamps, Model):
    """Ordered list of stages."""

    __tablename__ = "pipeline"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    side: Mapped[str] = mapped_column(String(20), default=DealSide.BUYER)
    position: Mapped[int] = mapped_column(Integer, default=0)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)

    departments: Mapped[list[Department]] = relationship(secondary=pipeline_department)
    stages: Mapped[list[Stage]] = relationship(
        back_populates="pipeline", order_by="Stage.position", cascade="all, delete-orphan"
    )

    def __repr__(self) -> str:
        return self.name


class Stage(Timestamps, Model):
    """Step of a pipeline with the options of domain §3.2."""

    __tablename__ = "stage"
    # The board and the mover read a pipeline's stages in order.
    __table_args__ = (Index("ix_stage_pipeline_position", "pipeline_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str | None] = mapped_column(Text)
    checklist: Mapped[str | None] = mapped_column(Text)
    type: Mapped[str] = mapped_column(String(20), default=StageType.IN_WORK)
    color: Mapped[str] = mapped_column(String(7), default="#3056d3")
    position: Mapped[int] = mapped_column(Integer, default=0)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    available_to_manager: Mapped[bool] = mapped_column(Boolean, default=True)
    tasks_allowed: Mapped[bool] = mapped_column(Boolean, default=True)
    open_view: Mapped[bool] = mapped_column(Boolean, default=False)
    open_full: Mapped[bool] = mapped_column(Boolean, default=False)
    skip_required: Mapped[bool] = mapped_column(Boolean, default=False)
    mandatory: Mapped[bool] = mapped_column(Boolean, default=False)
    time_limit_days: Mapped[int | None] = mapped_column(Integer)
    time_limit_target_id: Mapped[int | None] = mapped_column(
        ForeignKey("stage.id", ondelete="SET NULL")
    )
    probability: Mapped[int | None] = mapped_column(Integer)
    wip_color_threshold: Mapped[int | None] = mapped_column(Integer)

    pipeline: Mapped[Pipeline] = relationship(back_populates="stages")
    statuses: Mapped[list[StageStatus]] = relationship(
        back_populates="stage", order_by="StageStatus.position", cascade="all, delete-orphan"
    )

    @property
    def kind(self) -> StageType:
        return StageType(self.type)

    def __repr__(self) -> str:
        return self.name


class StageStatus(Model):
    """Preset task of a stage: a ready text offered when a task is set."""

    __tablename__ = "stage_status"

    id: Mapped[int] = mapped_column(primary_key=True)
    stage_id: Mapped[int] = mapped_column(ForeignKey("stage.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(String(255))
    task_kind: Mapped[str] = mapped_column(String(20), default=TaskKind.CALL)
    delay_days: Mapped[int] = mapped_column(Integer, default=1)
    position: Mapped[int] = mapped_column(Integer, default=0)
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    stage: Mapped[Stage] = relationship(back_populates="statuses")

    def __repr__(self) -> str:
        return self.text


class RequiredField(Model):
    """A field of the deal card that the pipeline demands, from a stage on."""

    __tablename__ = "required_field"
    __table_args__ = (UniqueConstraint("pipeline_id", "field"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    field: Mapped[str] = mapped_column(String(40))
    # Empty: demanded from the first stage.
    from_stage_id: Mapped[int | None] = mapped_column(ForeignKey("stage.id", ondelete="SET NULL"))

    pipeline: Mapped[Pipeline] = relationship()
    from_stage: Mapped[Stage | None] = relationship()


class LossReason(Model):
    """Why a deal was refused; the list is edited by the administrator."""

    __tablename__ = "loss_reason"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    position: Mapped[int] = mapped_column(Integer, default=0)
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    def __repr__(self) -> str:
        return self.name
