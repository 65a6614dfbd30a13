"""Tables: one concept a file. No queries that decide, no Flask."""

from __future__ import annotations

from crm.models.access import Action, ObjectKind, RoleGrant, RoleScope, Scope, UserGrant
from crm.models.appeal import Appeal, Channel
from crm.models.base import Model, db
from crm.models.contact import Contact, ContactEmail, ContactPhone
from crm.models.deal import Deal, MoveHow, StageHistory
from crm.models.demo import DemoManifest
from crm.models.feed import Feed, FeedRun, FeedRunItem, ImportFeed, RunState
from crm.models.files import StoredFile
from crm.models.inbound import DeliveryState, InboundDelivery, IntakePoint
from crm.models.journal import (
    AuditEntry,
    BrowserEvent,
    JobSlot,
    SavedView,
    SearchToken,
)
from crm.models.listing import Listing, ListingPhoto, ListingState, PhotoState, PriceChange
from crm.models.organization import Company, Department, DepartmentKind, Office
from crm.models.pipeline import (
    DealSide,
    LossReason,
    Pipeline,
    RequiredField,
    Stage,
    StageStatus,
    StageType,
    TaskKind,
)
from crm.models.source import Source, SourceGroup, Tag
from crm.models.staff import AuthSession, Employee
from crm.models.task import Task
from crm.models.telephony import (
    AssignRule,
    Call,
    CallAlias,
    CallLeg,
    CallState,
    HistoryRun,
    RecordingState,
    SeenCallEvent,
    TelephonyConnection,
    TelephonyExtension,
    TelephonyLine,
)
from crm.models.timeline import Comment, EventKind, TimelineEvent

__all__ = [
    "Action", "Appeal", "AssignRule", "AuditEntry", "AuthSession", "BrowserEvent", "Call",
    "CallAlias", "CallLeg", "CallState", "Channel", "Comment", "Company", "Contact",
    "ContactEmail", "ContactPhone", "Deal", "DealSide", "DeliveryState", "DemoManifest",
    "Department", "DepartmentKind", "Employee", "EventKind", "Feed", "FeedRun", "FeedRunItem",
    "HistoryRun", "ImportFeed", "InboundDelivery", "IntakePoint", "JobSlot", "Listing",
    "ListingPhoto", "ListingState", "LossReason", "Model", "MoveHow", "ObjectKind", "Office",
    "PhotoState", "Pipeline", "PriceChange", "RecordingState", "RequiredField", "RoleGrant",
    "RoleScope", "RunState", "SavedView", "Scope", "SearchToken", "SeenCallEvent", "Source",
    "SourceGroup", "Stage", "StageHistory", "StageStatus", "StageType", "StoredFile", "Tag",
    "Task", "TaskKind", "TelephonyConnection", "TelephonyExtension", "TelephonyLine",
    "TimelineEvent", "UserGrant", "db",
]  # fmt: skip
