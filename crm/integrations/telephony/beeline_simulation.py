"""Beeline «Облачная АТС»: the XSI events of one invented call, in the order they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from uuid import NAMESPACE_URL, uuid5

from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

_SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
_EVENT = """<?xml version="1.0" encoding="UTF-8"?>
<xsi:Event xmlns:xsi="http://schema.broadsoft.com/xsi" \
xmlns:xsi1="http://www.w3.org/2001/XMLSchema-instance" xsi1:type="xsi:SubscriptionEvent">
<xsi:eventID>{event_id}</xsi:eventID>
<xsi:sequenceNumber>{sequence}</xsi:sequenceNumber>
<xsi:userId>MPBX_E_000001_EventSubscription@ip.beeline.ru</xsi:userId>
<xsi:externalApplicationId>000001_demo</xsi:externalApplicationId>
<xsi:subscriptionId>{subscription}</xsi:subscriptionId>
<xsi:httpContact><xsi:uri>{uri}</xsi:uri></xsi:httpContact>
<xsi:targetId>{target}</xsi:targetId>
<xsi:eventData xsi1:type="xsi:{kind}"><xsi:call>{call}</xsi:call></xsi:eventData>
</xsi:Event>
"""


@dataclass(frozen=True)
class Step:
    """One event and the pause since the one before."""

    xml: str
    delay: timedelta


def steps(scenario: CallScenario, token: str) -> Iterator[Step]:
    """Ringing or dialling, answer, release; the address of the events holds `token`."""
    inbound = scenario.direction is Direction.IN
    first = "CallReceivedEvent" if inbound else "CallOriginatedEvent"
    yield Step(_event(scenario, token, 1, first, _call(scenario, "Alerting")), timedelta())
    if scenario.answered:
        answered = _call(scenario, "Active", answerTime=scenario.answered_at)
        yield Step(_event(scenario, token, 2, "CallAnsweredEvent", answered), scenario.ringing)
    answer = {"answerTime": scenario.answered_at} if scenario.answered else {}
    released = _call(scenario, "Released", **answer, releaseTime=scenario.ended_at)
    pause = scenario.talk if scenario.answered else scenario.ringing
    yield Step(_event(scenario, token, 3, "CallReleasedEvent", released), pause)


def call_id(scenario: CallScenario) -> str:
    """`extTrackingId` of the scenario's call."""
    return str(uuid5(NAMESPACE_URL, f"call:{scenario.call_key}"))


def employee(scenario: CallScenario) -> str:
    """`targetId` of the scenario's employee: the whole key, or an internal number at a host."""
    extension = scenario.extension
    return extension if "@" in extension else f"{extension}@ip.beeline.ru"


def _event(scenario: CallScenario, token: str, sequence: int, kind: str, call: str) -> str:
    return _EVENT.format(
        event_id=uuid5(NAMESPACE_URL, f"event:{scenario.call_key}:{sequence}"),
        sequence=sequence,
        subscription=_SUBSCRIPTION,
        uri=escape(f"https://crm.example.ru/telephony/beeline/{token}"),
        target=escape(employee(scenario)),
        kind=kind,
        call=call,
    )


def _call(scenario: CallScenario, state: str, **times: datetime) -> str:
    inbound = scenario.direction is Direction.IN
    halves = {
        "callId": escape(f"callhalf-{scenario.call_key}:0"),
        "extTrackingId": call_id(scenario),
        "personality": "Terminator" if inbound else "Originator",
        "state": state,
        "remoteParty": _party(scenario.client_number),
    }
    if state == "Released":
        halves["releasingParty"] = "remoteRelease"
    if inbound:
        # The line leads to one employee: a group would leave it open whether the call is missed.
        party = _tag("party", _party(scenario.line_number))
        halves["redirections"] = _tag("redirection", party + _tag("reason", "unconditional"))
    if scenario.answered and not scenario.recorded:
        halves["recordingState"] = "Failed"
    moments = {"startTime": scenario.ringing_at, **times}
    halves |= {name: str(int(at.timestamp() * 1000)) for name, at in moments.items()}
    return "".join(_tag(name, value) for name, value in halves.items())


def _party(number: str) -> str:
    return _tag("address", escape(f"tel:+{number}")) + _tag("callType", "Network")


def _tag(name: str, content: str) -> str:
    return f"<xsi:{name}>{content}</xsi:{name}>"
