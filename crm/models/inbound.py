"""Everything that came from outside, as it came, before anybody understood it."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import EncryptedJSON, Model, Timestamps, UtcDateTime
from crm.models.organization import Department
from crm.models.pipeline import Pipeline
from crm.models.source import Source
from crm.models.staff import Employee
from crm.values.clock import utc_now


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    NEW = "new"
    DONE = "done"
    IGNORED = "ignored"
    SPAM = "spam"
    RETRY = "retry"
    FAILED = "failed"


class InboundDelivery(Model):
    """One raw request of an operator, a site or a portal.

    The unique key is the de-duplication: the insert decides, not a look before it.
    """

    __tablename__ = "inbound_delivery"
    __table_args__ = (
        UniqueConstraint("door", "dedup_key"),
        # Drainer and sweeper: what is still to be done, oldest first.
        Index(
            "ix_inbound_pending",
            "next_attempt_at",
            "id",
            postgresql_where=text("state IN ('new', 'retry')"),
            sqlite_where=text("state IN ('new', 'retry')"),
        ),
        Index("ix_inbound_received", "received_at", "id"),
        Index("ix_inbound_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    # Which door it came through: "telephony:3" or "intake:1".
    door: Mapped[str] = mapped_column(String(40))
    family: Mapped[str] = mapped_column(String(20))
    adapter: Mapped[str] = mapped_column(String(40))
    dedup_key: Mapped[str] = mapped_column(String(128))
    method: Mapped[str] = mapped_column(String(8), default="POST")
    path_tail: Mapped[str] = mapped_column(String(255), default="")
    query: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    headers: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    body: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    # The body with secrets masked: the only form that a page may show.
    body_masked: Mapped[str] = mapped_column(Text, default="")
    # What the rim learned and the parser must know (signed or not, origin).
    trust: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    remote_addr: Mapped[str | None] = mapped_column(String(64))
    received_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    state: Mapped[str] = mapped_column(String(10), default=DeliveryState.NEW)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    verdict: Mapped[str | None] = mapped_column(String(500))
    error: Mapped[str | None] = mapped_column(Text)
    processed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    # How often the sender repeated the very same request.
    repeats: Mapped[int] = mapped_column(Integer, default=0)


class IntakePoint(Timestamps, Model):
    """A door for requests of one site or service."""

    __tablename__ = "intake_point"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    channel: Mapped[str] = mapped_column(String(20), default="site_form")
    key: Mapped[str] = mapped_column(String(64), unique=True)
    secrets: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    require_signature: Mapped[bool] = mapped_column(Boolean, default=False)
    allowed_domains: Mapped[str | None] = mapped_column(Text)
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    # Explicit source: wins over every other evidence.
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    # Source of last resort, before «Не определён».
    default_source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    aliases: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    honeypot: Mapped[str] = mapped_column(String(60), default="website")
    uses_snippet: Mapped[bool] = mapped_column(Boolean, default=False)
    allow_responsible: Mapped[bool] = mapped_column(Boolean, default=False)
    allow_source: Mapped[bool] = mapped_column(Boolean, default=False)
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    pipeline: Mapped[Pipeline | None] = relationship()
    department: Mapped[Department | None] = relationship()
    source: Mapped[Source | None] = relationship(foreign_keys=[source_id])
    default_source: Mapped[Source | None] = relationship(foreign_keys=[default_source_id])
    responsible: Mapped[Employee | None] = relationship()

    def __repr__(self) -> str:
        return self.name
