"""Asterisk: what is known of each call while its steps come.

One event of the PBX does not tell enough: the end of a call is the end of its last channel, the
client's number is in the first event only, the time of the talk is in the bridges. Fed with every
step, `Calls` says with each step that moves a call what is known by then. Fed with a single one,
it says what that one tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from crm.integrations.telephony.asterisk_book import IN, INTERNAL, OUT, Book, Call, Leg
from crm.integrations.telephony.asterisk_dialplan import Dialplan, Role, dialled_number
from crm.integrations.telephony.asterisk_events import Known
from crm.integrations.telephony.asterisk_steps import (
    FILE_VARIABLES,
    LINE_VARIABLES,
    REQUEST_VARIABLE,
    Channel,
    Kind,
    Step,
    request_id,
)
from crm.values import phones

_MAX_FILES = 20


class Calls:
    """The calls that go on now. `alone`: there will be one step only, taken at its word."""

    def __init__(self, plan: Dialplan, *, alone: bool = False) -> None:
        self._plan, self._alone = plan, alone
        self._book = Book(plan)
        self._seen: set[str] = set()
        self._steps: dict[Kind, Callable[[Step, datetime], Known | None]] = {
            Kind.CREATED: self._created,
            Kind.DIALLED: self._dialled,
            Kind.DIAL_OVER: self._dial_over,
            Kind.BRIDGED: self._bridged,
            Kind.UNBRIDGED: self._unbridged,
            Kind.VARIABLE: self._variable,
            Kind.TRANSFERRED: self._transferred,
            Kind.HUNG_UP: self._hung_up,
            Kind.RECORDED: self._recorded,
            Kind.ORDERED: self._ordered,
            Kind.LISTED: self._listed,
        }

    def __len__(self) -> int:
        return len(self._book.calls)

    def follow(self, step: Step, at: datetime) -> Known | None:
        """What is known with this step, None when it moves no call with the outside world."""
        return self._steps[step.kind](step, step.at or at)

    def begin_list(self) -> None:
        """The PBX is about to list the channels that are there now."""
        self._seen = set()
        self._book.bridges.clear()

    def end_list(self, at: datetime) -> Iterator[Known]:
        """The list is over: calls that it did not name have ended while nobody listened."""
        for call in list(self._book.calls.values()):
            for uid in set(call.legs) - self._seen:
                self._book.drop(call, uid)
            if call.legs:
                self._settle(call)
                self._count_talk(call, at)
                continue
            self._book.forget(call)
            if call.is_outside:
                yield call.known(call.last, over=True)

    # Steps

    def _created(self, step: Step, at: datetime) -> Known | None:
        channel = _the(step.channel)
        call = self._book.call_of(channel, at, opens=True)
        leg = call.legs.get(channel.id)
        if leg is None or call.id != channel.id:
            return None
        call.whole = True
        if leg.role is not Role.LOCAL and self._plan.comes_from_outside(channel):
            leg.role, leg.extension = Role.CLIENT, None
        if leg.role is Role.EMPLOYEE and not channel.outgoing:
            call.owner = leg.extension
            call.dialled = phones.digits(channel.exten)
        if leg.role is not Role.CLIENT or channel.outgoing:
            return None
        self._book.comes_in(call, channel)
        return call.known()

    def _dialled(self, step: Step, at: datetime) -> Known | None:
        peer = _the(step.peer)
        call = self._book.call_of(step.channel or peer, at, opens=True)
        leg = self._book.put(call, peer)
        caller = call.legs.get(step.channel.id) if step.channel else None
        is_own = caller is not None and caller.role is Role.EMPLOYEE
        if leg.role is Role.CLIENT:
            return self._dials_out(call, step, caller if is_own else None)
        if leg.extension is None:
            return None
        call.ringing[peer.id] = leg.extension
        call.owner = call.owner or leg.extension
        if call.direction is None and is_own:
            call.direction = INTERNAL
        return call.known(leg.extension) if call.is_outside else None

    def _dials_out(self, call: Call, step: Step, owner: Leg | None) -> Known | None:
        if call.direction == IN:
            return None  # the call goes on to somebody's mobile
        call.direction = OUT
        call.owner = owner.extension if owner is not None else call.owner
        numbers = (_the(step.peer).number, dialled_number(step.target), call.dialled)
        call.client = call.client or self._plan.outside_number(numbers)
        return call.known(call.owner)

    def _dial_over(self, step: Step, at: datetime) -> Known | None:
        peer = _the(step.peer)
        call = self._book.call_of(step.channel or peer, at, opens=True)
        leg = self._book.put(call, peer)
        extension = call.ringing.pop(peer.id, None) or leg.extension
        if self._alone and step.channel is None and extension:
            return call.known(extension)  # whoever calls, this telephone rings no more
        if step.status == "ANSWER":
            return self._picks_up(call, leg, extension, at)
        if leg.role is Role.CLIENT:
            call.status = step.status if call.direction == OUT else call.status
            return None
        still = extension in call.ringing.values() or extension in call.talkers
        return call.known(extension) if extension and call.is_outside and not still else None

    def _picks_up(self, call: Call, leg: Leg, extension: str | None, at: datetime) -> Known | None:
        """An employee takes the client's call, or the client the employee's."""
        if leg.role is Role.CLIENT:
            extension = call.owner if call.direction in (OUT, None) else None
            call.direction = call.direction or OUT
        # Of an ordered call the employee's telephone is picked up before the client is rung.
        elif extension is None or (call.direction == OUT and not call.answered):
            return None
        if not call.is_outside or (call.answered and call.talkers[-1:] == [extension]):
            return None
        call.talked_by(extension, at)
        return call.known(extension)

    def _bridged(self, step: Step, at: datetime) -> Known | None:
        channel = _the(step.channel)
        call = self._book.call_of(channel, at)
        members = self._book.join(step.target, channel.id)
        outside = [found for uid in sorted(members) if (found := self._outside_call(uid))]
        if not call.is_outside and outside:
            call = outside[0]
        for uid in sorted(members):
            if call.is_outside and not self._outside_call(uid):
                self._book.move(uid, call)
        before = call.answered, len(call.talkers)
        self._count_talk(call, at)
        if not call.is_outside or (call.answered, len(call.talkers)) == before:
            return None
        return call.known(call.last)

    def _outside_call(self, uid: str) -> Call | None:
        call = self._book.find(uid)
        return call if call is not None and call.is_outside else None

    def _unbridged(self, step: Step, at: datetime) -> Known | None:
        channel = _the(step.channel)
        self._book.leave(step.target, channel.id)
        call = self._book.find(channel.id)
        if call is not None:
            self._count_talk(call, at)
        return None

    def _variable(self, step: Step, at: datetime) -> Known | None:
        channel = _the(step.channel)
        call = self._book.call_of(channel, at, opens=self._alone)
        if call.id not in self._book.calls:
            return None
        before = call.line, call.request
        for name, value in step.variables:
            self._learn(call, name, value)
        return call.known() if (call.line, call.request) != before else None

    def _learn(self, call: Call, name: str, value: str) -> None:
        if name in LINE_VARIABLES and call.direction in (IN, None):
            line = self._plan.outside_number([phones.digits(value)])
            call.line, call.direction = line or call.line, IN if line else call.direction
        elif name == REQUEST_VARIABLE and request_id(value):
            call.request, call.direction = value, OUT
        elif name in FILE_VARIABLES and value not in call.files and len(call.files) < _MAX_FILES:
            call.files.append(value)

    def _transferred(self, step: Step, at: datetime) -> Known | None:
        giver = _the(step.channel)
        calls = [
            self._book.call_of(leg, at, opens=self._alone) for leg in (step.peer, giver) if leg
        ]
        call = next((call for call in calls if call.is_outside), None)
        if call is None:
            return None
        call.transferred = True
        return call.known(self._plan.extension(giver))

    def _hung_up(self, step: Step, at: datetime) -> Known | None:
        channel = _the(step.channel)
        if self._alone and channel.linked:
            self._book.call_of(channel, at)
        call = self._book.find(channel.id)
        if call is None:
            return None
        leg = call.legs[channel.id]
        self._count_talk(call, at)
        self._book.drop(call, channel.id)
        if not call.legs and (not self._alone or channel.id == call.id):
            self._book.forget(call)
            return call.known_at_the_end(at, step.status) if call.is_outside else None
        self._count_talk(call, at)
        left = [other.extension for other in call.legs.values()]
        silent = leg.extension in call.talkers and leg.extension not in left
        return call.known(leg.extension) if call.is_outside and silent else None

    def _recorded(self, step: Step, _at: datetime) -> Known | None:
        members = self._book.bridges.get(step.target, ())
        names = tuple(value for _, value in step.variables)
        for uid in [step.channel.id] if step.channel else sorted(members):
            call_id = self._book.call_id(uid) or (uid if self._alone else None)
            call = self._book.calls.get(call_id or "")
            if call_id is not None and (call is None or call.is_outside):
                known = call.known() if call is not None else Known(id=call_id)
                return replace(known, answered=True, files=names)
        return None

    def _ordered(self, step: Step, _at: datetime) -> Known | None:
        """`OriginateResponse`: which call is the one that we have ordered."""
        channel = _the(step.channel)
        call_id = self._book.call_id(channel.id) or channel.id
        call = self._book.calls.get(call_id)
        if call is not None:
            call.request, call.direction = step.request, OUT
        extension = self._plan.extension(channel)
        return Known(id=call_id, direction=OUT, extension=extension, request=step.request)

    def _listed(self, step: Step, at: datetime) -> Known | None:
        """A channel that is there now, perhaps since before we listened."""
        channel = _the(step.channel)
        self._seen.add(channel.id)
        self._book.call_of(channel, at)
        if step.target:
            self._book.join(step.target, channel.id)
        return None

    # Details

    def _settle(self, call: Call) -> None:
        """The direction of a call that was met half-way, by who is in it."""
        clients = [leg for leg in call.legs.values() if leg.role is Role.CLIENT]
        first = call.legs.get(call.id)
        if call.direction is not None or not clients:
            return
        if first is not None and first.role is Role.CLIENT:
            self._book.comes_in(call, first.channel)
            return
        call.direction = OUT
        employees = [leg.extension for leg in call.legs.values() if leg.extension]
        call.owner = call.owner or next(iter(employees), None)
        channel = clients[0].channel
        call.client = self._plan.outside_number([channel.number, channel.connected])

    def _count_talk(self, call: Call, at: datetime) -> None:
        """Whether the client and somebody else are in one bridge now."""
        clients = {uid for uid, leg in call.legs.items() if leg.role is Role.CLIENT}
        talking = [
            call.legs[uid]
            for members in self._book.bridges.values()
            if members & clients
            for uid in members & call.legs.keys()
            if uid not in clients or len(members & clients) > 1
        ]
        others = [leg for leg in talking if leg.role in (Role.EMPLOYEE, Role.LOCAL)] or talking
        call.count_talk(at, talks=bool(others))
        for leg in others:
            if not call.answered or (leg.extension and leg.extension not in call.talkers):
                call.talked_by(leg.extension, at)


def _the(channel: Channel | None) -> Channel:
    """The channel that every step of its kind has."""
    assert channel is not None
    return channel
