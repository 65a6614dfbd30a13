"""What the events of one call add up to, without a database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from crm.integrations.telephony.base import CallEvent
from crm.models import Call, CallLeg, CallState
from crm.operations import call_state

EMPLOYEES = {"101": 1, "102": 2}
FACTS = (
    "direction", "state", "result", "client_number", "line_number", "started_at", "answered_at",
    "ended_at", "duration_total", "talk", "crm_request_id", "is_final", "final_fields",
    "recording_ref", "recording_state", "recording_due_at",
)  # fmt: skip


def fold(events: Sequence[CallEvent]) -> dict[str, Any]:
    """What the events add up to; a repeat is let through on purpose."""
    call = Call(connection_id=1, provider_call_id="c1", state=CallState.NEW, final_fields=[])
    legs: dict[str, CallLeg] = {}
    for item in events:
        call_state.absorb(call, item)
        call_state.expect_recording(call, item, dt.timedelta(seconds=60))
        name = call_state.leg_id(item)
        if name is not None:
            leg = legs.setdefault(name, CallLeg(leg_id=name, state=CallState.RINGING))
            key = item.employee_key or item.extension or ""
            call_state.absorb_leg(leg, item, EMPLOYEES.get(key))
    facts = {name: getattr(call, name) for name in FACTS}
    return facts | {
        "employee": call_state.employee_of(call, legs.values()),
        "legs": sorted(
            (x.leg_id, x.extension, x.employee_id, x.state, x.answered_at) for x in legs.values()
        ),
    }
