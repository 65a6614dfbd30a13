"""Mango Office: the notices of one invented call, in the order the operator sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_ENDED_BY_CALLER = 1110
_NOT_ANSWERED = 1111
_RECORD_DELAY = timedelta(seconds=3)
_MENU_LEG = "menu"
_EMPLOYEE_LEG = "user"


@dataclass(frozen=True)
class Step:
    """One notice: tail of the path, JSON, pause since the one before."""

    path: str
    value: Mapping[str, Any]
    delay: timedelta


def steps(scenario: CallScenario) -> Iterator[Step]:
    """Ringing in the menu, at the employee, answer, end, summary, recording."""
    inbound = scenario.direction is Direction.IN
    if inbound:
        yield Step("events/call", _menu(scenario), timedelta())
    pause = scenario.menu if inbound else timedelta()
    yield Step("events/call", _leg(scenario, "Appeared", 1, scenario.ringing_at), pause)
    if scenario.answered:
        answered = _leg(scenario, "Connected", 2, scenario.answered_at)
        yield Step("events/call", answered, scenario.ringing)
    over = {
        **_leg(scenario, "Disconnected", 3, scenario.ended_at),
        "disconnect_reason": _reason(scenario),
    }
    yield Step("events/call", over, scenario.talk if scenario.answered else scenario.ringing)
    yield Step("events/summary", _summary(scenario), timedelta(seconds=1))
    if scenario.answered and scenario.recorded:
        yield Step("events/record/added", _record(scenario), _RECORD_DELAY)


def _entry(scenario: CallScenario) -> str:
    return f"sim:{scenario.call_key}"


def _reason(scenario: CallScenario) -> int:
    return _ENDED_BY_CALLER if scenario.answered else _NOT_ANSWERED


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())


def _menu(scenario: CallScenario) -> dict[str, Any]:
    line = scenario.line_number
    return {
        "entry_id": _entry(scenario),
        "call_id": f"{_entry(scenario)}:{_MENU_LEG}",
        "timestamp": _unix(scenario.started_at),
        "seq": 1,
        "call_state": "Appeared",
        "location": "ivr",
        "from": {"number": scenario.client_number},
        "to": {"number": line, "line_number": line},
        "dct": {"type": 0},
    }


def _leg(scenario: CallScenario, state: str, sequence: int, at: datetime) -> dict[str, Any]:
    caller, callee = _sides(scenario)
    if scenario.direction is Direction.IN:
        caller["taken_from_call_id"] = f"{_entry(scenario)}:{_MENU_LEG}"
    return {
        "entry_id": _entry(scenario),
        "call_id": f"{_entry(scenario)}:{_EMPLOYEE_LEG}",
        "timestamp": _unix(at),
        "seq": sequence,
        "call_state": state,
        "location": "abonent",
        "from": caller,
        "to": {**callee, "line_number": scenario.line_number},
    }


def _sides(scenario: CallScenario) -> tuple[dict[str, Any], dict[str, Any]]:
    client = {"number": scenario.client_number}
    device = f"sip:user@vpbx{scenario.extension}.mangosip.ru"
    employee = {"extension": scenario.extension, "number": device}
    return (client, employee) if scenario.direction is Direction.IN else (employee, client)


def _summary(scenario: CallScenario) -> dict[str, Any]:
    caller, callee = _sides(scenario)
    return {
        "entry_id": _entry(scenario),
        "call_direction": 1 if scenario.direction is Direction.IN else 2,
        "from": caller,
        "to": callee,
        "line_number": scenario.line_number,
        "create_time": _unix(scenario.started_at),
        "forward_time": _unix(scenario.ringing_at) if scenario.answered else 0,
        "talk_time": _unix(scenario.answered_at) if scenario.answered else 0,
        "end_time": _unix(scenario.ended_at),
        "entry_result": 1 if scenario.answered else 0,
        "disconnect_reason": _reason(scenario),
    }


def _record(scenario: CallScenario) -> dict[str, Any]:
    return {
        "entry_id": _entry(scenario),
        "product_id": 400000001,
        "user_id": -1,
        "recording_id": f"{_entry(scenario)}:record",
        "timestamp": _unix(scenario.ended_at + _RECORD_DELAY),
    }
