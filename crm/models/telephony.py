"""Telephony connections and calls."""

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
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import EncryptedJSON, Model, Timestamps, UtcDateTime
from crm.models.contact import Contact
from crm.models.deal import Deal
from crm.models.organization import Department
from crm.models.pipeline import Pipeline
from crm.models.source import Source
from crm.models.staff import Employee
from crm.values.clock import utc_now


class CallState(enum.StrEnum):
    """States move forward only: new → ringing → answered → ended or missed."""

    NEW = "new"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"
    MISSED = "missed"


class RecordingState(enum.StrEnum):
    """Where the recording of a call stands."""

    NONE = "none"
    WAITING = "waiting"
    STORED = "stored"
    ABSENT = "absent"


class TelephonyConnection(Timestamps, Model):
    """One account at an operator; an agency may have several."""

    __tablename__ = "telephony_connection"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    operator: Mapped[str] = mapped_column(String(40))
    credentials: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    # Secret part of the webhook address.
    token: Mapped[str] = mapped_column(String(64), unique=True)
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    default_source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    # Numbers (comma list) whose calls make no deals: own lines, couriers, black list.
    ignored_numbers: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    last_event_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(500))

    pipeline: Mapped[Pipeline | None] = relationship()
    department: Mapped[Department | None] = relationship()
    default_source: Mapped[Source | None] = relationship()
    extensions: Mapped[list[TelephonyExtension]] = relationship(
        back_populates="connection", cascade="all, delete-orphan"
    )

    def __repr__(self) -> str:
        return self.name


class TelephonyExtension(Model):
    """Operator's key of an employee (extension, login or id) and whose it is."""

    __tablename__ = "telephony_extension"
    __table_args__ = (UniqueConstraint("connection_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(
        ForeignKey("telephony_connection.id", ondelete="CASCADE")
    )
    key: Mapped[str] = mapped_column(String(64))
    title: Mapped[str | None] = mapped_column(String(120))
    employee_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"), index=True)

    connection: Mapped[TelephonyConnection] = relationship(back_populates="extensions")
    employee: Mapped[Employee | None] = relationship()

    def __repr__(self) -> str:
        return self.key


class Call(Timestamps, Model):
    """A whole call, however many legs and events it had."""

    __tablename__ = "call"
    __table_args__ = (
        UniqueConstraint("connection_id", "provider_call_id"),
        Index("ix_call_started", "started_at", "id"),
        Index("ix_call_client_key", "client_key"),
        Index("ix_call_deal", "deal_id"),
        Index("ix_call_employee", "employee_id", "started_at"),
        # Jobs: recordings still to be fetched.
        Index(
            "ix_call_recording_due",
            "recording_due_at",
            postgresql_where=text("recording_state = 'waiting'"),
            sqlite_where=text("recording_state = 'waiting'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("telephony_connection.id"))
    provider_call_id: Mapped[str] = mapped_column(String(128))
    direction: Mapped[str | None] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default=CallState.NEW)
    result: Mapped[str | None] = mapped_column(String(20))
    # The facts below came from the operator's final record, not from live events.
    is_final: Mapped[bool] = mapped_column(Boolean, default=False)
    # Which of them: a live event that comes late must not overrule exactly these.
    final_fields: Mapped[list[str]] = mapped_column(JSON, default=list)
    client_number: Mapped[str | None] = mapped_column(String(32))
    client_key: Mapped[str | None] = mapped_column(String(32))
    line_number: Mapped[str | None] = mapped_column(String(32))
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"), index=True)
    deal_id: Mapped[int | None] = mapped_column(ForeignKey("deal.id"))
    employee_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    is_first: Mapped[bool] = mapped_column(Boolean, default=False)
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    answered_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    duration_total: Mapped[int | None] = mapped_column(Integer)
    talk: Mapped[int | None] = mapped_column(Integer)
    crm_request_id: Mapped[str | None] = mapped_column(String(64), index=True)
    recording_state: Mapped[str] = mapped_column(String(10), default=RecordingState.NONE)
    # Reference or temporary link at the operator: a secret, never shown.
    recording_ref: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    recording_attempts: Mapped[int] = mapped_column(Integer, default=0)
    recording_due_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    recording_error: Mapped[str | None] = mapped_column(String(500))
    recording_file_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))

    connection: Mapped[TelephonyConnection] = relationship()
    contact: Mapped[Contact | None] = relationship()
    deal: Mapped[Deal | None] = relationship()
    employee: Mapped[Employee | None] = relationship()
    source: Mapped[Source | None] = relationship()


class CallLeg(Model):
    """One employee's part in a call: who rang, who answered, who let go."""

    __tablename__ = "call_leg"
    __table_args__ = (UniqueConstraint("call_id", "leg_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("call.id", ondelete="CASCADE"))
    leg_id: Mapped[str] = mapped_column(String(128))
    extension: Mapped[str | None] = mapped_column(String(64))
    employee_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    state: Mapped[str] = mapped_column(String(10), default=CallState.RINGING)
    # Of several who talked the first is the one who answered the call.
    answered_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class SeenCallEvent(Model):
    """Events already applied: the unique key makes a repeat harmless."""

    __tablename__ = "seen_call_event"

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("telephony_connection.id", ondelete="CASCADE"), primary_key=True
    )
    event_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    call_id: Mapped[int | None] = mapped_column(ForeignKey("call.id", ondelete="CASCADE"))
    seen_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
