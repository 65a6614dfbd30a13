"""The feed of a deal, a contact or a listing, and comments in it."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime
from crm.models.staff import Employee
from crm.values.clock import utc_now


class EventKind(enum.StrEnum):
    """What happened."""

    CREATED = "created"
    SAVED = "saved"
    CALL = "call"
    REQUEST = "request"
    COMMENT = "comment"
    STAGE = "stage"
    FIELDS = "fields"
    RESPONSIBLE = "responsible"
    TASK_SET = "task_set"
    TASK_DONE = "task_done"
    SOURCE = "source"
    PRICE = "price"
    STATE = "state"
    PHOTOS = "photos"
    IMPORTED = "imported"


class Comment(Timestamps, Model):
    """Note of an employee in a deal's feed."""

    __tablename__ = "comment"
    __table_args__ = (Index("ix_comment_deal", "deal_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deal.id", ondelete="CASCADE"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    text: Mapped[str] = mapped_column(Text)

    author: Mapped[Employee | None] = relationship()


class TimelineEvent(Model):
    """One line of a feed; ``data`` holds what the line says, ids and old values."""

    __tablename__ = "timeline_event"
    __table_args__ = (
        # Card: the newest events of a deal, page after page.
        Index("ix_timeline_deal", "deal_id", "occurred_at", "id"),
        Index("ix_timeline_listing", "listing_id", "occurred_at", "id"),
        Index("ix_timeline_contact", "contact_id", "occurred_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    deal_id: Mapped[int | None] = mapped_column(ForeignKey("deal.id", ondelete="CASCADE"))
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id", ondelete="CASCADE"))
    listing_id: Mapped[int | None] = mapped_column(ForeignKey("listing.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    occurred_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    call_id: Mapped[int | None] = mapped_column(ForeignKey("call.id", ondelete="CASCADE"))
    appeal_id: Mapped[int | None] = mapped_column(ForeignKey("appeal.id", ondelete="CASCADE"))
    comment_id: Mapped[int | None] = mapped_column(ForeignKey("comment.id", ondelete="CASCADE"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    actor: Mapped[Employee | None] = relationship()
    comment: Mapped[Comment | None] = relationship()
