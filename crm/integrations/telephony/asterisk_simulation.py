"""Asterisk: the events of one invented call, in the order the PBX tells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from crm.integrations.telephony.asterisk_steps import AMI
from crm.integrations.telephony.events import Direction
from crm.integrations.telephony.simulation import CallScenario

Told = tuple[datetime, dict[str, Any]]
_BLINK = timedelta(milliseconds=200)


@dataclass(frozen=True)
class _Leg:
    """A channel of the invented call."""

    id: str
    name: str
    linked: str
    number: str
    exten: str = ""
    context: str = ""
    state: str = "Ring"

    def ami(self, prefix: str = "") -> dict[str, str]:
        """Fields of the manager interface."""
        values = {
            "Channel": self.name,
            "ChannelState": {"Down": "0", "Ring": "4", "Up": "6"}[self.state],
            "CallerIDNum": self.number,
            "Exten": self.exten,
            "Context": self.context,
            "Uniqueid": self.id,
            "Linkedid": self.linked,
        }
        return {prefix + name: value for name, value in values.items()}

    def ari(self) -> dict[str, Any]:
        """The object `Channel` of ARI."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "caller": {"name": "", "number": self.number},
            "connected": {"name": "", "number": ""},
            "dialplan": {"context": self.context, "exten": self.exten, "priority": 1},
        }


@dataclass
class _Teller:
    """Writes one event after the other in the words of AMI or ARI."""

    protocol: str
    told: list[Told] = field(default_factory=list)

    def tell(self, at: datetime, ami: str, ari: str, legs: dict[str, _Leg], **more: Any) -> None:
        """``legs`` by the prefix of their AMI fields; ``more`` by `ami_Name` and `ari_name`."""
        names = {"": "channel", "Dest": "peer"}
        if ari == "Dial":
            names[""] = "caller"
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + at.strftime("%z")
        event: dict[str, Any] = {"type": ari, "application": "crm", "timestamp": stamp}
        if self.protocol == AMI:
            event = {"Event": ami, "Timestamp": f"{at.timestamp():.6f}"}
        for prefix, leg in legs.items():
            event |= leg.ami(prefix) if self.protocol == AMI else {names[prefix]: leg.ari()}
        mine = f"{self.protocol}_"
        event |= {name[len(mine) :]: value for name, value in more.items() if name[:4] == mine}
        self.told.append((at, event))

    def appears(self, at: datetime, leg: _Leg) -> None:
        self.tell(at, "Newchannel", "ChannelCreated", {"": leg})

    def dials(self, at: datetime, caller: _Leg, peer: _Leg, status: str = "") -> None:
        name = "DialEnd" if status else "DialBegin"
        legs = {"": caller, "Dest": peer}
        more = {"ami_DialStatus": status} if status else {}
        self.tell(at, name, "Dial", legs, ari_dialstatus=status, **more)

    def meets(self, at: datetime, leg: _Leg, bridge: str) -> None:
        more = {"ami_BridgeUniqueid": bridge, "ari_bridge": {"id": bridge}}
        self.tell(at, "BridgeEnter", "ChannelEnteredBridge", {"": leg}, **more)

    def learns(self, at: datetime, leg: _Leg, name: str, value: str) -> None:
        more = {"ami_Variable": name, "ami_Value": value}
        more |= {"ari_variable": name, "ari_value": value}
        self.tell(at, "VarSet", "ChannelVarset", {"": leg}, **more)

    def goes(self, at: datetime, leg: _Leg, cause: str) -> None:
        more: dict[str, Any] = {"ami_Cause": cause, "ari_cause": int(cause)}
        self.tell(at, "Hangup", "ChannelDestroyed", {"": leg}, **more)


def events(scenario: CallScenario, protocol: str, trunk: str) -> Iterator[Told]:
    """The call as the PBX tells it: the line and the telephone, their talk, their ends."""
    teller = _Teller(protocol)
    first, second = _legs(scenario, trunk)
    begun, rings, answer = scenario.started_at, scenario.ringing_at, scenario.answered_at
    teller.appears(begun, first)
    teller.appears(rings, replace(second, number=""))
    teller.dials(rings, first, second)
    if scenario.answered:
        teller.dials(answer, first, second, "ANSWER")
        for leg in (second, first):
            teller.meets(answer, leg, f"{first.id}-bridge")
        if scenario.recorded:
            day = f"{begun:%Y/%m/%d}"
            file = f"/var/spool/asterisk/monitor/{day}/{first.id}.wav"
            teller.learns(answer, first, "MIXMONITOR_FILENAME", file)
    else:
        teller.dials(scenario.ended_at, first, second, "NOANSWER")
    teller.goes(scenario.ended_at, second, "16")
    teller.goes(scenario.ended_at + _BLINK, first, "16" if scenario.answered else "19")
    yield from teller.told


def _legs(scenario: CallScenario, trunk: str) -> tuple[_Leg, _Leg]:
    """Who begins, then who is rung."""
    unix = int(scenario.started_at.timestamp())
    ids = [f"sim-{scenario.call_key}-{unix}.{number}" for number in (1, 2)]
    line = f"PJSIP/{trunk}-0000001a"
    telephone = f"PJSIP/{scenario.extension}-0000001b"
    if scenario.direction is Direction.IN:
        return (
            _Leg(
                id=ids[0],
                name=line,
                linked=ids[0],
                number=scenario.client_number,
                exten=scenario.line_number,
                context="from-trunk",
            ),
            _Leg(ids[1], telephone, ids[0], scenario.extension, state="Down"),
        )
    return (
        _Leg(
            id=ids[0],
            name=telephone,
            linked=ids[0],
            number=scenario.extension,
            exten=scenario.client_number,
            context="from-internal",
        ),
        _Leg(ids[1], line, ids[0], scenario.client_number, state="Down"),
    )
