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
    Time,
    UniqueConstraint,
    false,
    text,
    true,
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
    # Was stored and deleted when the agency's time of keeping was over.
    EXPIRED = "expired"


class AssignRule(enum.StrEnum):
    """Whom a deal goes to when nobody has answered its call (domain §9)."""

    FREE = "free"
    QUEUE = "queue"
    PERSON = "person"


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
    # Off: calls of strangers are kept without a contact and a deal.
    makes_deals: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    assign_rule: Mapped[str] = mapped_column(
        String(10), default=AssignRule.FREE, server_default=AssignRule.FREE.value
    )
    assign_to_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    # Working hours of the lines; empty: the company's. Days as «1,2,3», 1 is Monday.
    work_start: Mapped[dt.time | None] = mapped_column(Time)
    work_end: Mapped[dt.time | None] = mapped_column(Time)
    work_days: Mapped[str | None] = mapped_column(String(20))
    # Minutes of working time within which a missed call is to be called back.
    callback_minutes: Mapped[int] = mapped_column(Integer, default=15, server_default="15")
    callback_task: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    # Whether the operator is asked for its list of calls (see ``operations.call_history``).
    syncs_history: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    # Days that recordings are kept; empty: for ever.
    keep_recordings_days: Mapped[int | None] = mapped_column(Integer)
    last_event_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(500))
    # Subscription to events, where the operator's ends by itself.
    subscription_id: Mapped[str | None] = mapped_column(String(128))
    subscribed_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    pipeline: Mapped[Pipeline | None] = relationship()
    department: Mapped[Department | None] = relationship()
    default_source: Mapped[Source | None] = relationship()
    assign_to: Mapped[Employee | None] = relationship()
    extensions: Mapped[list[TelephonyExtension]] = relationship(
        back_populates="connection", cascade="all, delete-orphan"
    )
    lines: Mapped[list[TelephonyLine]] = relationship(
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
    # The internal number, where it is not the key itself.
    number: Mapped[str | None] = mapped_column(String(32))
    title: Mapped[str | None] = mapped_column(String(120))
    employee_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"), index=True)

    connection: Mapped[TelephonyConnection] = relationship(back_populates="extensions")
    employee: Mapped[Employee | None] = relationship()

    def __repr__(self) -> str:
        return self.key


class TelephonyLine(Timestamps, Model):
    """A number of the agency that clients dial, and the source that it advertises."""

    __tablename__ = "telephony_line"
    __table_args__ = (UniqueConstraint("connection_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(
        ForeignKey("telephony_connection.id", ondelete="CASCADE")
    )
    number: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(32), index=True)
    title: Mapped[str | None] = mapped_column(String(120))
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"), index=True)

    connection: Mapped[TelephonyConnection] = relationship(back_populates="lines")
    source: Mapped[Source | None] = relationship()

    def __repr__(self) -> str:
        return self.number


class HistoryRun(Model):
    """One look into the operator's list of calls: what webhooks had lost."""

    __tablename__ = "history_run"
    __table_args__ = (Index("ix_history_run_connection", "connection_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(
        ForeignKey("telephony_connection.id", ondelete="CASCADE")
    )
    state: Mapped[str] = mapped_column(String(10))
    by_hand: Mapped[bool] = mapped_column(Boolean, default=False)
    since: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    until: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    # Rows that the operator showed, calls that were not known, events that added something.
    seen: Mapped[int] = mapped_column(Integer, default=0)
    found: Mapped[int] = mapped_column(Integer, default=0)
    added: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str | None] = mapped_column(String(500))

    connection: Mapped[TelephonyConnection] = relationship()


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
        # Missed calls that nobody has called back: a handful among many.
        Index(
            "ix_call_to_call_back",
            "callback_due_at",
            postgresql_where=text("callback_due_at IS NOT NULL AND called_back_at IS NULL"),
            sqlite_where=text("callback_due_at IS NOT NULL AND called_back_at IS NULL"),
        ),
        Index("ix_call_history_run", "history_run_id"),
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
    transferred: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    crm_request_id: Mapped[str | None] = mapped_column(String(64), index=True)
    # The look into the history that has found a call of which no event had told.
    history_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("history_run.id", ondelete="SET NULL")
    )
    # Derived from a row of a history without ids; a live event brings the true one.
    id_is_made_up: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    # A missed call: until when it is to be called back, the first attempt, the first talk.
    callback_due_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    called_back_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    reached_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    callback_task_id: Mapped[int | None] = mapped_column(ForeignKey("task.id", ondelete="SET NULL"))
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


class CallAlias(Model):
    """Another id of a call: of a leg after a transfer, or of a row of the history."""

    __tablename__ = "call_alias"

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("telephony_connection.id", ondelete="CASCADE"), primary_key=True
    )
    alias: Mapped[str] = mapped_column(String(128), primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("call.id", ondelete="CASCADE"), index=True)


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
