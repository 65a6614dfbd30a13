"""UIS / CoMagic: the notices of one invented call, written by the very texts we give away."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario
from crm.integrations.telephony.uis_templates import CABINET_NAMES, template

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_RECORD_DELAY = timedelta(seconds=29)


@dataclass(frozen=True)
class Step:
    """One notice: its text and the pause since the one before."""

    body: str
    delay: timedelta


def session_id(call_key: str) -> int:
    """Number of the call, as far from other calls as a hash can be; exact in JavaScript too."""
    return int(hashlib.sha256(call_key.encode("utf-8", "surrogatepass")).hexdigest()[:12], 16)


def steps(scenario: CallScenario, zone: tzinfo) -> Iterator[Step]:
    """Line, employee's telephone, talk, end, recording; a missed call is lost and then over."""
    inbound = scenario.direction is Direction.IN
    first = _step("incoming" if inbound else "outgoing", scenario, zone, scenario.started_at)
    yield first
    if inbound:
        yield _step("ringing", scenario, zone, scenario.ringing_at, scenario.menu)
    if not scenario.answered:
        ended = scenario.ended_at
        if inbound:
            yield _step("lost", scenario, zone, ended, scenario.ringing)
        yield _step("call_end", scenario, zone, ended, timedelta() if inbound else scenario.ringing)
        return
    yield _step("answered", scenario, zone, scenario.answered_at, scenario.ringing)
    yield _step("talk_end", scenario, zone, scenario.ended_at, scenario.talk)
    yield _step("call_end", scenario, zone, scenario.ended_at)
    if scenario.recorded:
        ready = scenario.ended_at + _RECORD_DELAY
        yield _step("record", scenario, zone, ready, _RECORD_DELAY)


def _step(
    event: str,
    scenario: CallScenario,
    zone: tzinfo,
    at: datetime,
    delay: timedelta = timedelta(),
) -> Step:
    values = {**_values(scenario), **_stamps(event, at, zone)}
    text = _PLACEHOLDER.sub(
        lambda found: json.dumps(values.get(found[1]), ensure_ascii=False), template(event)
    )
    return Step(text, delay)


def _stamps(event: str, at: datetime, zone: tzinfo) -> dict[str, Any]:
    return {
        "notification_name": CABINET_NAMES[event],
        "notification_time": at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        "notification_timestamp": int(at.timestamp()),
    }


def _values(scenario: CallScenario) -> dict[str, Any]:
    """What the operator would know of the call; the CRM knows employees by their ids."""
    call, employee = session_id(scenario.call_key), scenario.extension
    wait = (scenario.answered_at - scenario.started_at).total_seconds()
    talk = (scenario.ended_at - scenario.answered_at).total_seconds()
    employee_id = int(employee) if employee.isdecimal() else employee
    key = hashlib.sha256(f"record:{scenario.call_key}".encode("utf-8", "surrogatepass"))
    return {
        "call_session_id": call,
        "virtual_phone_number": scenario.line_number,
        "contact_phone_number": scenario.client_number,
        "scenario_name": "Основной",
        "direction": "in" if scenario.direction is Direction.IN else "out",
        "leg_id": call + 2,
        "leg_ids": [call + 1, call + 2],
        "employee_id": employee_id,
        "employee_ids": [employee_id],
        "employee_full_name": f"Сотрудник {employee}",
        "talk_time_duration": int(talk),
        "wait_time_duration": int(wait),
        "total_time_duration": int(wait + talk),
        "file_link": f"https://media.uiscom.ru/{call}/{key.hexdigest()[:32]}",
        "file_duration": int(talk),
    }
