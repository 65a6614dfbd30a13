"""What every operator translates into: one normalized event of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class CallKind(Enum):
    """What happened. `LEG_ENDED` closes one employee's pop-up and never decides the result."""

    RINGING = "ringing"
    ANSWERED = "answered"
    LEG_ENDED = "leg_ended"
    ENDED = "ended"
    MISSED = "missed"
    RECORDING_READY = "recording_ready"
    UNKNOWN = "unknown"


class Direction(Enum):
    """Who called whom, as the agency sees it."""

    IN = "in"
    OUT = "out"
    INTERNAL = "internal"


class CallResult(Enum):
    """How a call went."""

    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class CallEvent:
    """One event of one call; times are aware UTC, durations seconds, numbers digits.

    A None says "the event does not tell": keep what is already known. `final` data (a summary, the
    history) beat live data. `provider_call_id` is "" when the operator named no call: then match
    by `crm_request_id`. `id_is_made_up` marks an id that we derived from a row of a history without
    call ids: such a call is first looked for by its number, time and employee. `raw` is the body
    with secrets masked.
    """

    kind: CallKind
    operator: str
    connection_id: int
    provider_call_id: str
    event_id: str
    occurred_at: datetime
    occurred_at_is_receipt: bool = False
    final: bool = False
    id_is_made_up: bool = False
    alias_call_ids: tuple[str, ...] = ()
    leg_id: str | None = None
    sequence: int | None = None
    direction: Direction | None = None
    client_number: str | None = field(default=None, repr=False)
    line_number: str | None = None
    extension: str | None = None
    employee_key: str | None = None
    started_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    duration_total: int | None = None
    talk: int | None = None
    result: CallResult | None = None
    recording_ref: str | None = None
    recording_url: str | None = field(default=None, repr=False)
    recording_url_temporary: bool = False
    crm_request_id: str | None = None
    transferred: bool = False
    raw: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for moment in (
            self.occurred_at,
            self.started_at,
            self.answered_at,
            self.ended_at,
        ):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("times of a CallEvent must be aware")
