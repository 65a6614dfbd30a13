"""Calls that never happened: what `crm simulate` and the tests ask operators to act out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony.events import Direction


@dataclass(frozen=True, kw_only=True)
class CallScenario:
    """A whole call; numbers are digits, `call_key` makes its ids unique, `started_at` is aware."""

    call_key: str
    client_number: str
    line_number: str
    extension: str
    started_at: datetime
    direction: Direction = Direction.IN
    answered: bool = True
    recorded: bool = True
    menu: timedelta = timedelta(seconds=6)
    ringing: timedelta = timedelta(seconds=5)
    talk: timedelta = timedelta(seconds=90)

    @property
    def ringing_at(self) -> datetime:
        """When the employee's telephone starts to ring."""
        return self.started_at + (self.menu if self.direction is Direction.IN else timedelta())

    @property
    def answered_at(self) -> datetime:
        """When the call is, or would have been, answered."""
        return self.ringing_at + self.ringing

    @property
    def ended_at(self) -> datetime:
        """When the call is over."""
        return self.answered_at + (self.talk if self.answered else timedelta())


@dataclass(frozen=True, kw_only=True)
class SimulatedRequest:
    """One request as the operator would send it, `delay` after the one before it."""

    path_tail: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    delay: timedelta = timedelta()

    def received(self, at: datetime, token: str = "") -> InboundRequest:
        """The same request as our web side would see it."""
        return InboundRequest(
            method=self.method,
            path_tail=self.path_tail,
            query=self.query,
            headers=self.headers,
            body=self.body,
            remote_addr="127.0.0.1",
            received_at=at,
            token=token,
        )
