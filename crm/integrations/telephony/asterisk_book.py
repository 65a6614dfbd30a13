"""Asterisk: the calls that go on and the channels that make them up."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from crm.integrations.telephony.asterisk_dialplan import Dialplan, Role
from crm.integrations.telephony.asterisk_events import Known
from crm.integrations.telephony.asterisk_steps import Channel
from crm.values import phones

IN, OUT, INTERNAL = "in", "out", "internal"
# More calls at once are no agency's; the oldest ones are forgotten.
MAX_CALLS = 5_000
_MAX_GONE = 2_000


@dataclass
class Leg:
    channel: Channel
    role: Role
    extension: str | None

    @property
    def twin(self) -> str:
        """Name that both halves of a `Local` channel share."""
        return self.channel.name[:-2] if self.channel.name.endswith((";1", ";2")) else ""


@dataclass
class Call:
    """A call that goes on; `ringing` are legs that ring, `talkers` who has ever talked."""

    id: str
    started: datetime
    whole: bool = False
    direction: str | None = None
    client: str | None = None
    line: str | None = None
    # Who dials out, or whose telephone an order rings first.
    owner: str | None = None
    dialled: str | None = None
    request: str | None = None
    transferred: bool = False
    status: str | None = None
    legs: dict[str, Leg] = field(default_factory=dict)
    ringing: dict[str, str] = field(default_factory=dict)
    talkers: list[str] = field(default_factory=list)
    answered: bool = False
    talk_from: datetime | None = None
    talk: float = 0.0
    talking_since: datetime | None = None
    files: list[str] = field(default_factory=list)

    @property
    def is_outside(self) -> bool:
        """Whether it is with somebody outside, as far as is known."""
        return self.direction in (IN, OUT)

    def talked_by(self, extension: str | None, at: datetime) -> None:
        self.answered = True
        self.talk_from = min(self.talk_from or at, at)
        if extension is not None:
            self.talkers = [item for item in self.talkers if item != extension] + [extension]

    def count_talk(self, at: datetime, *, talks: bool) -> None:
        """Stop the clock of the talk, or let it run."""
        if self.talking_since is not None:
            self.talk += max(0.0, (at - self.talking_since).total_seconds())
        self.talking_since = at if talks else None

    def known(self, extension: str | None = None, **more: Any) -> Known:
        known = Known(
            id=self.id,
            direction=self.direction,
            client=self.client,
            line=self.line,
            extension=extension,
            request=self.request,
            transferred=self.transferred,
            answered=self.answered,
            started=int(self.started.timestamp()),
        )
        return replace(known, **more)

    def known_at_the_end(self, at: datetime, cause: str) -> Known:
        self.count_talk(at, talks=False)
        talk = self.talk
        if self.talk_from is not None and not talk:
            talk = max(0.0, (at - self.talk_from).total_seconds())  # no bridge was shown to us
        return self.known(
            self.last,
            over=True,
            whole=self.whole,
            talk=round(talk) if self.answered else 0,
            talk_from=int(self.talk_from.timestamp()) if self.talk_from else None,
            status=self.status or cause or None,
            files=tuple(self.files),
        )

    @property
    def last(self) -> str | None:
        """Who talked last, or who dialled out; nobody of a missed call."""
        if self.talkers:
            return self.talkers[-1]
        return self.owner if self.direction == OUT else None


class Book:
    """Which channels make up which call."""

    def __init__(self, plan: Dialplan) -> None:
        self.plan = plan
        self.calls: OrderedDict[str, Call] = OrderedDict()
        self.bridges: dict[str, set[str]] = {}
        # Call of a channel, of a pair of `Local` halves, and of channels hung up just now.
        self._where: dict[str, str] = {}
        self._twins: dict[str, str] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()

    def find(self, uid: str) -> Call | None:
        """The call that goes on with this channel."""
        return self.calls.get(self._where.get(uid, ""))

    def call_id(self, uid: str) -> str | None:
        """Id of the channel's call, also when either is over."""
        return self._where.get(uid) or self._gone.get(uid)

    def call_of(self, channel: Channel, at: datetime, *, opens: bool = False) -> Call:
        """The channel's call with the channel in it; a call of its own when nothing links it.

        ARI links channels late: there only a step that ``opens`` may begin a call.
        """
        known = self.find(channel.id)
        if known is None and channel.id in self._gone:
            return self.calls.get(self._gone[channel.id]) or Call(channel.id, at)
        linked = self.calls.get(channel.linked) or known or self._twin_of(channel)
        if linked is None and not (channel.linked or opens):
            return Call(channel.id, at)
        if linked is None:
            linked = self._open(channel, at)
        self.put(linked, channel)
        return self.find(channel.id) or linked

    def put(self, call: Call, channel: Channel) -> Leg:
        """The channel among the legs of the call; a client stays in the call that was his."""
        known = self.find(channel.id)
        if known is None:
            return self._add(call, channel)
        leg = known.legs[channel.id]
        is_his = leg.role is Role.CLIENT and known.is_outside
        if known is call or is_his or call.id not in self.calls:
            return leg
        alone = bool(channel.linked) or known.is_outside
        for uid in [channel.id] if alone else list(known.legs):
            self.move(uid, call)
        return leg

    def move(self, uid: str, call: Call) -> None:
        """The channel turned out to be a leg of another call."""
        known = self.find(uid)
        if known is None or known is call:
            return
        leg = call.legs[uid] = known.legs.pop(uid)
        if uid in known.ringing:
            call.ringing[uid] = known.ringing.pop(uid)
        self._note(uid, leg, call)
        if not known.legs:
            self.forget(known)

    def drop(self, call: Call, uid: str) -> None:
        """The channel is gone."""
        leg = call.legs.pop(uid, None)
        call.ringing.pop(uid, None)
        self._where.pop(uid, None)
        if leg is not None and leg.twin and all(o.twin != leg.twin for o in call.legs.values()):
            self._twins.pop(leg.twin, None)
        for bridge in [name for name, members in self.bridges.items() if uid in members]:
            self.leave(bridge, uid)
        self._gone[uid] = call.id
        while len(self._gone) > _MAX_GONE:
            self._gone.popitem(last=False)

    def join(self, bridge: str, uid: str) -> set[str]:
        """The channel entered the bridge; who is in it, as far as their calls are known."""
        if bridge and self.find(uid) is not None:
            self.bridges.setdefault(bridge, set()).add(uid)
        return self.bridges.get(bridge, set())

    def leave(self, bridge: str, uid: str) -> None:
        """The channel left the bridge."""
        members = self.bridges.get(bridge, set())
        members.discard(uid)
        if not members:
            self.bridges.pop(bridge, None)

    def forget(self, call: Call) -> None:
        """The call is over."""
        for uid in list(call.legs):
            self.drop(call, uid)
        self.calls.pop(call.id, None)

    def comes_in(self, call: Call, channel: Channel) -> None:
        """The channel is the client's who calls us."""
        call.direction = IN
        call.client = call.client or self.plan.outside_number([channel.number])
        call.line = call.line or self.plan.outside_number([phones.digits(channel.exten)])

    def _open(self, channel: Channel, at: datetime) -> Call:
        call = Call(channel.linked or channel.id, at)
        self.calls[call.id] = call
        leg = self._add(call, channel)
        # The oldest channel is who began the call.
        if call.id == channel.id and leg.role is Role.CLIENT and not channel.outgoing:
            self.comes_in(call, channel)
        while len(self.calls) > MAX_CALLS:
            self.forget(next(iter(self.calls.values())))
        return call

    def _add(self, call: Call, channel: Channel) -> Leg:
        role = self.plan.role(channel)
        extension = self.plan.extension(channel) if role is not Role.CLIENT else None
        leg = Leg(channel, role, extension)
        if channel.id not in self._gone and call.id in self.calls:
            call.legs[channel.id] = leg
            self._note(channel.id, leg, call)
        return leg

    def _note(self, uid: str, leg: Leg, call: Call) -> None:
        self._where[uid] = call.id
        if leg.twin:
            self._twins[leg.twin] = call.id

    def _twin_of(self, channel: Channel) -> Call | None:
        twin = channel.name[:-2] if channel.name.endswith((";1", ";2")) else ""
        return self.calls.get(self._twins.get(twin, ""))
