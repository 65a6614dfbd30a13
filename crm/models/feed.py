"""Feeds: what portals fetch from us, what we take from others, and each run of both."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import EncryptedJSON, Model, Timestamps, UtcDateTime
from crm.models.files import StoredFile
from crm.models.organization import Department
from crm.models.staff import Employee
from crm.values.clock import utc_now


class RunState(enum.StrEnum):
    """Where a build or an import stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    HELD = "held"
    FAILED = "failed"


class Feed(Timestamps, Model):
    """A file that a portal fetches at a secret address."""

    __tablename__ = "feed"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    portal: Mapped[str] = mapped_column(String(40), default="yandex")
    token: Mapped[str] = mapped_column(String(64), unique=True)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    # Which listings: deal types, kinds, departments, minimum price.
    filters: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    # Number shown instead of the agent's own: tracking phone of the portal.
    phone: Mapped[str | None] = mapped_column(String(32))
    modern: Mapped[bool] = mapped_column(Boolean, default=False)
    include_deposit: Mapped[bool] = mapped_column(Boolean, default=False)
    file_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))
    gzip_file_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))
    etag: Mapped[str | None] = mapped_column(String(80))
    offers: Mapped[int | None] = mapped_column(Integer)
    built_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    fetched_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    file: Mapped[StoredFile | None] = relationship(foreign_keys=[file_id])
    gzip_file: Mapped[StoredFile | None] = relationship(foreign_keys=[gzip_file_id])

    def __repr__(self) -> str:
        return self.name


class ImportFeed(Timestamps, Model):
    """A foreign feed that listings are taken from."""

    __tablename__ = "import_feed"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    portal: Mapped[str] = mapped_column(String(40), default="yandex")
    # An address may carry a secret key of its owner.
    address: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    state_for_new: Mapped[str] = mapped_column(String(12), default="draft")
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    responsible: Mapped[Employee | None] = relationship()
    department: Mapped[Department | None] = relationship()

    def __repr__(self) -> str:
        return self.name


class FeedRun(Model):
    """One build or one import with its counts."""

    __tablename__ = "feed_run"
    __table_args__ = (Index("ix_feed_run_started", "started_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # Exactly one of the two is set.
    feed_id: Mapped[int | None] = mapped_column(ForeignKey("feed.id", ondelete="CASCADE"))
    import_feed_id: Mapped[int | None] = mapped_column(
        ForeignKey("import_feed.id", ondelete="CASCADE")
    )
    state: Mapped[str] = mapped_column(String(10), default=RunState.QUEUED)
    dry_run: Mapped[bool] = mapped_column(Boolean, default=False)
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    total: Mapped[int] = mapped_column(Integer, default=0)
    created: Mapped[int] = mapped_column(Integer, default=0)
    updated: Mapped[int] = mapped_column(Integer, default=0)
    unchanged: Mapped[int] = mapped_column(Integer, default=0)
    refused: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    # An uploaded file waits here until the job has read it.
    file_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))

    feed: Mapped[Feed | None] = relationship()
    import_feed: Mapped[ImportFeed | None] = relationship()
    actor: Mapped[Employee | None] = relationship()
    file: Mapped[StoredFile | None] = relationship()


class FeedRunItem(Model):
    """What became of one offer in a run."""

    __tablename__ = "feed_run_item"
    __table_args__ = (Index("ix_feed_run_item_run", "run_id", "outcome", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("feed_run.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    internal_id: Mapped[str | None] = mapped_column(String(128))
    listing_id: Mapped[int | None] = mapped_column(ForeignKey("listing.id", ondelete="SET NULL"))
    # created, updated, unchanged, refused, skipped
    outcome: Mapped[str] = mapped_column(String(10))
    reasons: Mapped[list[str]] = mapped_column(JSON, default=list)
