"""The general protocol: the notices of one invented call, in the order a PBX sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.generic_events import ANSWERED, ENDED, RECORDING, RINGING
from crm.integrations.telephony.simulation import CallScenario

_RECORD_DELAY = timedelta(seconds=3)


@dataclass(frozen=True)
class Step:
    """One notice and the pause since the one before it."""

    value: Mapping[str, Any]
    delay: timedelta


def steps(scenario: CallScenario, record_host: str) -> Iterator[Step]:
    """Ringing, answer, end and, on `record_host`, the recording."""
    pause = scenario.menu if scenario.direction is Direction.IN else timedelta()
    yield Step(_notice(scenario, RINGING, scenario.ringing_at), pause)
    if scenario.answered:
        yield Step(_notice(scenario, ANSWERED, scenario.answered_at), scenario.ringing)
    pause = scenario.talk if scenario.answered else scenario.ringing
    yield Step(_ended(scenario), pause)
    if scenario.answered and scenario.recorded:
        at = scenario.ended_at + _RECORD_DELAY
        link = f"https://{record_host}/sim-{scenario.call_key}.mp3"
        value = {**_notice(scenario, RECORDING, at), "recording_url": link}
        yield Step(value, _RECORD_DELAY)


def _ended(scenario: CallScenario) -> dict[str, Any]:
    return {
        **_notice(scenario, ENDED, scenario.ended_at),
        "answered": scenario.answered,
        "duration": _seconds(scenario.ended_at - scenario.started_at),
        "talk": _seconds(scenario.ended_at - scenario.answered_at),
    }


def _notice(scenario: CallScenario, event: str, at: datetime) -> dict[str, Any]:
    return {
        "event": event,
        "call_id": f"sim-{scenario.call_key}",
        "direction": scenario.direction.value,
        "client": f"+{scenario.client_number}",
        "line": f"+{scenario.line_number}",
        "extension": scenario.extension,
        "time": at.isoformat(),
    }


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
