"""Moi Zvonki: the notices of one invented call, in the order the telephone's application sends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_TYPES = {"call.start": 1, "call.answer": 2, "call.finish": 4}
_AGE = 2


@dataclass(frozen=True)
class Step:
    """One notice: JSON, pause since the one before."""

    value: Mapping[str, Any]
    delay: timedelta


def steps(scenario: CallScenario, account: str) -> Iterator[Step]:
    """Start, answer, finish; an outgoing call is "answered" as soon as it is dialled."""
    outgoing = scenario.direction is Direction.OUT
    dialled = timedelta(seconds=1)
    yield _step(scenario, account, "call.start", scenario.started_at, timedelta())
    before = timedelta()
    if outgoing or scenario.answered:
        before = dialled if outgoing else scenario.answered_at - scenario.started_at
        yield _step(scenario, account, "call.answer", scenario.started_at + before, before)
    delay = scenario.ended_at - scenario.started_at - before
    yield _step(scenario, account, "call.finish", scenario.ended_at, delay)


def call_id(scenario: CallScenario) -> str:
    """The invented call's id on the telephone."""
    return f"sim-{scenario.call_key}"


def record(scenario: CallScenario) -> dict[str, Any]:
    """What only the final record holds."""
    recorded = scenario.answered and scenario.recorded
    digest = hashlib.sha256(scenario.call_key.encode("utf-8")).hexdigest()
    return {
        "start_time": _unix(scenario.started_at),
        "answer_time": _unix(scenario.answered_at) if scenario.answered else 0,
        "end_time": _unix(scenario.ended_at),
        "duration": int(scenario.talk.total_seconds()) if scenario.answered else 0,
        "answered": int(scenario.answered),
        "recording": f"/recordings/{call_id(scenario)}.mp3" if recorded else "",
        "db_call_id": int(digest[:12], 16),
    }


def _step(
    scenario: CallScenario, account: str, action: str, at: datetime, delay: timedelta
) -> Step:
    webhook = {
        "action": action,
        "account_id": "90001",
        "account_name": account,
        "user_id": "17",
        "user_login": scenario.extension,
    }
    event = {
        "direction": 0 if scenario.direction is Direction.IN else 1,
        "type": _TYPES[action],
        "client_number": f"+{scenario.client_number}",
        "client_name": "",
        "event_age": _AGE,
        "event_created": _unix(at),
        "user_name": "Сотрудник",
        "event_pbx_call_id": call_id(scenario),
        "src_number": f"+{scenario.line_number}",
        "src_slot": 0,
        **(record(scenario) if action == "call.finish" else {}),
    }
    return Step({"webhook": webhook, "event": event}, delay)


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())
