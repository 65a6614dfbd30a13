"""OnlinePBX: the webhooks of one invented call, in the order the operator sends them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_NAMESPACE = uuid.UUID("6f2b1f64-6d0f-4f43-9a5b-0d5f3f6f7a11")


@dataclass(frozen=True)
class Step:
    """One webhook: its JSON, pause since the one before."""

    body: bytes
    delay: timedelta


def call_id(scenario: CallScenario) -> str:
    """A uuid that belongs to the scenario's key."""
    return str(uuid.uuid5(_NAMESPACE, scenario.call_key))


def steps(scenario: CallScenario, domain: str) -> Iterator[Step]:
    """The call on the line, at the employee, the answer, the end."""
    inbound = scenario.direction is Direction.IN
    start = _event(scenario, domain, "call_start", scenario.started_at)
    if inbound:
        yield _step({**start, "callee": scenario.line_number}, timedelta())
        rings = _event(scenario, domain, "call_user_start", scenario.ringing_at)
        yield _step(rings, scenario.menu)
    else:
        yield _step(start, timedelta())
    if scenario.answered:
        answered = _event(scenario, domain, "call_answered", scenario.answered_at)
        yield _step(answered, scenario.ringing)
    end = _event(scenario, domain, "call_end", scenario.ended_at) | _outcome(scenario)
    yield _step(end, scenario.talk if scenario.answered else scenario.ringing)


def _step(value: Mapping[str, str], delay: timedelta) -> Step:
    return Step(json.dumps(value, ensure_ascii=False).encode("utf-8"), delay)


def _event(scenario: CallScenario, domain: str, event: str, at: datetime) -> dict[str, str]:
    inbound = scenario.direction is Direction.IN
    client, employee = scenario.client_number, scenario.extension
    return {
        "domain": domain,
        "event": event,
        "direction": "inbound" if inbound else "outbound",
        "uuid": call_id(scenario),
        "caller": client if inbound else employee,
        "callee": employee if inbound else client,
        "from_domain": "" if inbound else domain,
        "to_domain": domain if inbound else "",
        "gateway": scenario.line_number,
        "date": str(int(at.timestamp())),
    }


def _outcome(scenario: CallScenario) -> dict[str, str]:
    talk = int((scenario.ended_at - scenario.answered_at).total_seconds())
    outcome = {
        "call_duration": str(int((scenario.ended_at - scenario.started_at).total_seconds())),
        "dialog_duration": str(talk),
        "hangup_cause": "NORMAL_CLEARING" if scenario.answered else "ORIGINATOR_CANCEL",
    }
    if not (scenario.answered and scenario.recorded):
        return outcome
    link = f"https://api2.onlinepbx.ru/calls-records/download/{call_id(scenario)}/rec.mp3"
    return {**outcome, "download_url": link}
