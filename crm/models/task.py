"""What is to be done, when and by whom."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Boolean, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime
from crm.models.deal import Deal
from crm.models.pipeline import StageStatus, TaskKind
from crm.models.staff import Employee


class Task(Timestamps, Model):
    """A task of a deal, of a listing or of nobody's."""

    __tablename__ = "task"
    __table_args__ = (
        # Page «Задачи» and the counter of overdue ones: a person's undone tasks by date.
        Index(
            "ix_task_open",
            "responsible_id",
            "due_at",
            postgresql_where=text("done_at IS NULL"),
            sqlite_where=text("done_at IS NULL"),
        ),
        Index("ix_task_deal", "deal_id", "due_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    deal_id: Mapped[int | None] = mapped_column(ForeignKey("deal.id", ondelete="CASCADE"))
    listing_id: Mapped[int | None] = mapped_column(ForeignKey("listing.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(String(255))
    status_id: Mapped[int | None] = mapped_column(
        ForeignKey("stage_status.id", ondelete="SET NULL")
    )
    kind: Mapped[str] = mapped_column(String(20), default=TaskKind.CALL)
    # Without a time the task is due at the end of the working day.
    due_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    has_time: Mapped[bool] = mapped_column(Boolean, default=True)
    remind_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    result: Mapped[str | None] = mapped_column(Text)
    done_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    deal: Mapped[Deal | None] = relationship()
    status: Mapped[StageStatus | None] = relationship()
    responsible: Mapped[Employee | None] = relationship(foreign_keys=[responsible_id])
    author: Mapped[Employee | None] = relationship(foreign_keys=[author_id])

    def __repr__(self) -> str:
        return self.text
