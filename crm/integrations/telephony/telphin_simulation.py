"""Телфин: the notices of one invented call, in the order the PBX sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_PREFIX = "15657"
_MENU = "099"
_AFTER = timedelta(milliseconds=50)


@dataclass(frozen=True)
class Step:
    """One notice: its fields, pause since the one before."""

    fields: Mapping[str, str]
    delay: timedelta


def steps(scenario: CallScenario, units_per_second: int) -> Iterator[Step]:
    """Menu, employee, answer, end of both; an outgoing call has no menu."""
    inbound = scenario.direction is Direction.IN
    if inbound:
        yield Step(_notice(scenario, "dial-in", _MENU, "CALLING", scenario.started_at), timedelta())
    phone = scenario.extension
    dial = _notice(
        scenario, "dial-in" if inbound else "dial-out", phone, "CALLING", scenario.ringing_at
    )
    yield Step(dial, scenario.menu if inbound else timedelta())
    if scenario.answered:
        answer = _notice(scenario, "answer", phone, "ANSWER", scenario.answered_at)
        yield Step(answer, scenario.ringing)
    status = "ANSWER" if scenario.answered else "CANCEL"
    hangup = {
        **_notice(scenario, "hangup", phone, status, scenario.ended_at),
        **_talk(scenario, units_per_second),
    }
    yield Step(hangup, scenario.talk if scenario.answered else scenario.ringing)
    if inbound:
        menu = _notice(scenario, "hangup", _MENU, status, scenario.ended_at + _AFTER)
        yield Step({**menu, "Bridged": "yes" if scenario.answered else "no"}, _AFTER)


def call_id(scenario: CallScenario) -> str:
    """Id of the whole call, as the history writes it too."""
    return hashlib.sha256(f"sim:{scenario.call_key}".encode()).hexdigest()[:32].upper()


def _notice(
    scenario: CallScenario, name: str, phone: str, status: str, at: datetime
) -> dict[str, str]:
    inbound = scenario.direction is Direction.IN
    return {
        "EventType": name,
        "CallID": call_id(scenario),
        "SubCallID": f"{_extension_id(phone)}-{call_id(scenario)}",
        "CallFlow": "in" if inbound else "out",
        "CallStatus": status,
        **(_incoming(scenario, phone) if inbound else _outgoing(scenario, phone)),
        "EventTime": str(_microseconds(at)),
    }


def _incoming(scenario: CallScenario, phone: str) -> dict[str, str]:
    return {
        "CallerIDNum": scenario.client_number,
        "CallerIDName": scenario.client_number,
        "CalledNumber": f"{_PREFIX}*{phone}",
        "CalledExtension": f"{_PREFIX}*{phone}",
        "CalledExtensionID": _extension_id(phone),
        "CalledDID": scenario.line_number,
    }


def _outgoing(scenario: CallScenario, phone: str) -> dict[str, str]:
    return {
        "CallerIDNum": f"{_PREFIX}*{phone}",
        "CallerExtension": f"{_PREFIX}*{phone}@sipproxy.telphin.ru",
        "CallerExtensionID": _extension_id(phone),
        "CalledNumber": scenario.client_number,
    }


def _talk(scenario: CallScenario, units_per_second: int) -> dict[str, str]:
    if not scenario.answered:
        return {}
    talk = {"Duration": str(round(scenario.talk.total_seconds() * units_per_second))}
    if scenario.recorded:
        talk["RecID"] = f"{_extension_id(scenario.extension)}-{call_id(scenario)}"
    return talk


def _extension_id(phone: str) -> str:
    return f"300{phone}"


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
