"""Rostelecom: the notices of one invented call, in the order and shape the operator sends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.rostelecom_events import MOSCOW
from crm.integrations.telephony.simulation import CallScenario

_DOMAIN = "agency.20.rt.ru"
_GATE = "192.0.2.10"
# Meaning of the operator's codes is not known; this one stands in the published sample.
_REASON = "4"
_MOMENT = timedelta(milliseconds=300)


@dataclass(frozen=True)
class Step:
    """One `call_events` body and the pause since the one before."""

    value: dict[str, str]
    delay: timedelta


def session_id(scenario: CallScenario) -> str:
    """Id of the invented call."""
    return f"SDsim-{scenario.call_key}"


def steps(scenario: CallScenario) -> Iterator[Step]:
    """New call, an employee rings, answers, hangs up, the call is over."""
    menu = scenario.ringing_at - scenario.started_at
    yield Step(_notice(scenario, "new", scenario.started_at), timedelta())
    yield Step(_notice(scenario, "calling", scenario.ringing_at + _MOMENT), menu)
    if not scenario.answered:
        yield Step(_over(scenario), scenario.ringing)
        return
    yield Step(_notice(scenario, "connected", scenario.answered_at), scenario.ringing)
    talked = _notice(scenario, "disconnected", scenario.ended_at) | {"disconnect_reason": _REASON}
    yield Step(talked, scenario.talk)
    yield Step(_over(scenario), _MOMENT)


def _over(scenario: CallScenario) -> dict[str, str]:
    recorded = scenario.answered and scenario.recorded
    return _notice(scenario, "end", scenario.ended_at + _MOMENT) | {
        "disconnect_reason": _REASON,
        "is_record": "true" if recorded else "false",
    }


def _notice(scenario: CallScenario, state: str, at: datetime) -> dict[str, str]:
    inbound = scenario.direction is Direction.IN
    client = f"sip:{scenario.client_number}@{_GATE}"
    line = f"sip:{scenario.line_number}@{_DOMAIN}"
    employee = f"sip:user{scenario.extension}@{_DOMAIN}"
    return {
        "session_id": session_id(scenario),
        "timestamp": _timestamp(at),
        "type": "incoming" if inbound else "outbound",
        "state": state,
        "from_number": client if inbound else employee,
        "from_pin": "" if inbound else scenario.extension,
        "request_number": line if inbound else client,
        "request_pin": scenario.extension if _names_employee(scenario, state) else "",
        "disconnect_reason": "",
        "is_record": "",
    }


def _names_employee(scenario: CallScenario, state: str) -> bool:
    """A new call has reached nobody yet, a missed one has nobody to name at its end."""
    if scenario.direction is not Direction.IN or state == "new":
        return False
    return scenario.answered or state != "end"


def _timestamp(at: datetime) -> str:
    return at.astimezone(MOSCOW).isoformat(" ", "milliseconds")[:23]
