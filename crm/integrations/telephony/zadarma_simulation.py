"""Zadarma and Novofon: the notices of one invented call, in the order the operator sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_RECORD_DELAY = timedelta(seconds=3)


@dataclass(frozen=True)
class Step:
    """One notice: its fields, pause since the one before."""

    fields: Mapping[str, str]
    delay: timedelta


def call_id(scenario: CallScenario) -> str:
    """`in_` or `out_` and forty hexadecimal digits."""
    return ("in_" if scenario.direction is Direction.IN else "out_") + _digest(scenario)[:40]


def record_id(scenario: CallScenario) -> str:
    """Unix seconds of the call and a fraction that nobody else has."""
    return f"{int(scenario.started_at.timestamp())}.{int(_digest(scenario)[:12], 16)}"


def steps(scenario: CallScenario, zone: timezone) -> Iterator[Step]:
    """Start, ringing at the employee, answer, end, recording."""
    inbound = scenario.direction is Direction.IN
    started = scenario.started_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    common = {"call_start": started, "pbx_call_id": call_id(scenario)}
    parties, answer = _sides(scenario)
    yield Step(
        {"event": "NOTIFY_START" if inbound else "NOTIFY_OUT_START", **common, **parties},
        timedelta(),
    )
    employee = {**common, **parties, "internal": scenario.extension}
    if inbound:
        yield Step({"event": "NOTIFY_INTERNAL", **employee}, scenario.menu)
    if scenario.answered:
        yield Step({"event": "NOTIFY_ANSWER", **common, **answer}, scenario.ringing)
    end = {"event": "NOTIFY_END" if inbound else "NOTIFY_OUT_END", **employee, **_outcome(scenario)}
    yield Step(end, scenario.talk if scenario.answered else scenario.ringing)
    if scenario.answered and scenario.recorded:
        record = {
            "event": "NOTIFY_RECORD",
            "call_id_with_rec": record_id(scenario),
            "pbx_call_id": call_id(scenario),
        }
        yield Step(record, _RECORD_DELAY)


def _digest(scenario: CallScenario) -> str:
    return hashlib.sha256(f"{scenario.call_key}".encode()).hexdigest()


def _sides(scenario: CallScenario) -> tuple[dict[str, str], dict[str, str]]:
    """Parties of the call's notices and of its answer."""
    employee = {"internal": scenario.extension}
    if scenario.direction is Direction.IN:
        client = {"caller_id": scenario.client_number}
        answer = {**client, "destination": scenario.extension, **employee}
        return {**client, "called_did": scenario.line_number}, answer
    parties = {
        "caller_id": scenario.line_number,
        "destination": scenario.client_number,
        **employee,
    }
    return parties, parties


def _outcome(scenario: CallScenario) -> dict[str, str]:
    recorded = scenario.answered and scenario.recorded
    outcome = {
        "duration": str(int(scenario.talk.total_seconds()) if scenario.answered else 0),
        "disposition": "answered" if scenario.answered else "no answer",
        "status_code": "16" if scenario.answered else "19",
        "is_recorded": "1" if recorded else "0",
    }
    return {**outcome, "call_id_with_rec": record_id(scenario)} if recorded else outcome
