"""ITooLabs platform: the requests of one invented call, in the order the PBX sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_HISTORY_DELAY = timedelta(seconds=2)


@dataclass(frozen=True)
class Step:
    """One request: its fields without the secret, pause since the one before."""

    fields: Mapping[str, str]
    delay: timedelta


def steps(scenario: CallScenario, records: str) -> Iterator[Step]:
    """Who calls, ringing, answer, end, history; `records` is where links to recordings start."""
    inbound = scenario.direction is Direction.IN
    if inbound:
        yield Step(_contact(scenario), timedelta())
    pause = scenario.menu if inbound else timedelta()
    yield Step(_event(scenario, "INCOMING" if inbound else "OUTGOING"), pause)
    if scenario.answered:
        yield Step(_event(scenario, "ACCEPTED"), scenario.ringing)
        yield Step(_event(scenario, "COMPLETED"), scenario.talk)
    else:
        yield Step(_event(scenario, "CANCELLED"), scenario.ringing)
    yield Step(_history(scenario, records), _HISTORY_DELAY)


def _call(scenario: CallScenario) -> str:
    return f"sim:{scenario.call_key}"


def _contact(scenario: CallScenario) -> dict[str, str]:
    return {"cmd": "contact", "phone": scenario.client_number, "callid": _call(scenario)}


def _event(scenario: CallScenario, word: str) -> dict[str, str]:
    return {
        "cmd": "event",
        "type": word,
        "phone": scenario.client_number,
        "diversion": scenario.line_number,
        "user": f"user{scenario.extension}",
        "ext": scenario.extension,
        "direction": _direction(scenario),
        "callid": _call(scenario),
    }


def _history(scenario: CallScenario, records: str) -> dict[str, str]:
    """`duration` counts from the start, as the vendor's text says, and is 0 without a talk."""
    waited = scenario.answered_at - scenario.started_at
    total = scenario.ended_at - scenario.started_at if scenario.answered else timedelta()
    fields = {
        "cmd": "history",
        "type": _direction(scenario),
        "status": _status(scenario),
        "phone": scenario.client_number,
        "diversion": scenario.line_number,
        "user": f"user{scenario.extension}",
        "ext": scenario.extension,
        "start": _utc(scenario.started_at),
        "wait": _seconds(waited),
        "duration": _seconds(total),
        "callid": _call(scenario),
    }
    if scenario.answered and scenario.recorded:
        fields["link"] = f"{records}/{scenario.call_key}.mp3"
    return fields


def _direction(scenario: CallScenario) -> str:
    return "in" if scenario.direction is Direction.IN else "out"


def _status(scenario: CallScenario) -> str:
    if scenario.answered:
        return "Success"
    return "missed" if scenario.direction is Direction.IN else "NotAvailable"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _seconds(length: timedelta) -> str:
    return str(int(length.total_seconds()))
