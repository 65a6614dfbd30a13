"""Gravitel (current API): the notices of one invented call, in the operator's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from crm.integrations.telephony.simulation import CallScenario

_AFTER_THE_END = timedelta(seconds=1)


@dataclass(frozen=True)
class Step:
    """One notice: end of the path, JSON, pause since the one before."""

    path: str
    value: Mapping[str, Any]
    delay: timedelta


def steps(scenario: CallScenario) -> Iterator[Step]:
    """Ringing, talk, end, final record."""
    yield Step("event", _event(scenario, "alerting"), timedelta())
    if scenario.answered:
        yield Step("event", _event(scenario, "talking"), scenario.ringing)
    lasted = scenario.talk if scenario.answered else scenario.ringing
    yield Step("event", _event(scenario, "released"), lasted)
    yield Step("history", _history(scenario), _AFTER_THE_END)


def call_id(scenario: CallScenario) -> str:
    """The invented call's id."""
    return f"sim-{scenario.call_key}"


def _parties(scenario: CallScenario) -> dict[str, Any]:
    return {
        "id": call_id(scenario),
        "direction": scenario.direction.value,
        "client": scenario.client_number,
        "extension": scenario.extension,
        "phone": scenario.line_number,
    }


def _event(scenario: CallScenario, stage: str) -> dict[str, Any]:
    return {**_parties(scenario), "stage": stage}


def _history(scenario: CallScenario) -> dict[str, Any]:
    recorded = scenario.answered and scenario.recorded
    link = f"https://records.aicall.ru/sim/{call_id(scenario)}.mp3" if recorded else ""
    wait = scenario.answered_at - scenario.started_at
    return {
        **_parties(scenario),
        "when": int(scenario.started_at.timestamp()),
        "result": "success" if scenario.answered else "missed",
        "duration": int(scenario.talk.total_seconds()) if scenario.answered else 0,
        "provision": int(wait.total_seconds()),
        "record": link,
    }
