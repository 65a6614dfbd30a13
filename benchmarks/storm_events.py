"""The calls of the storm: what each operator sends of them, in an order that no operator keeps."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from urllib.parse import quote, urlencode

from crm.integrations.telephony.base import Direction, TelephonyOperator
from crm.integrations.telephony.simulation import CallScenario, SimulatedRequest
from crm.values.clock import utc_now

DOUBLED = 0.2
LATE = 0.05
# Chances of an answered, a missed, an outgoing answered and an outgoing unanswered call.
_KINDS = (
    (Direction.IN, True, 0.62),
    (Direction.IN, False, 0.20),
    (Direction.OUT, True, 0.13),
    (Direction.OUT, False, 0.05),
)
# A client has nobody else on the line: his calls begin in different slots.
_SLOT = dt.timedelta(minutes=5)
_SLOTS = 96
_LONGEST_TALK = 170
_CLIENTS_A_CALL = 0.6
_CODES = ("903", "905", "911", "916", "921", "925", "926", "931", "952", "981", "985", "999")
# Shares of calls whose notices come mixed but close together, and mixed over the whole storm;
# those of the others come in order.
_NEAR, _FAR = 0.5, 0.25
# So many requests lie at most between mixed notices of one call.
_NEAR_SPAN = 300
# They push the id of a recording and no address: what is fetched by it stays within this machine.
RECORDED = frozenset({"mango", "zadarma", "telphin"})
# They tell when a talk began and when the call was over, and never how long the talk was.
NO_TALK = frozenset({"rostelecom"})


@dataclass(frozen=True, slots=True)
class Account:
    """A connection as the storm needs it; ``employees`` are ids by internal number."""

    connection_id: int
    operator: TelephonyOperator
    token: str
    employees: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WantedCall:
    """What the CRM must know of a call when everything has come."""

    account: Account
    scenario: CallScenario
    provider_call_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as the inbox tells it from others, and whose call it is about."""

    door: str
    key: str
    call: int


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to send: the ``delivery`` may be sent by several shots."""

    delivery: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Storm:
    """Everything that is sent, in this order, and what must come of it."""

    shots: list[Shot]
    deliveries: list[Delivery] = field(repr=False)
    calls: list[WantedCall] = field(repr=False)
    late: int
    disordered: int

    @property
    def doubles(self) -> int:
        """Requests that repeat an earlier one byte by byte."""
        return len(self.shots) - len(self.deliveries)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A shot with its place in the storm, and which notice of its call it is."""

    place: float
    shot: Shot
    step: int


def build(
    accounts: Sequence[Account], lines: Sequence[str], calls: int, events: int, seed: int
) -> Storm:
    """A storm of ``calls`` calls; repeats are a fifth, and more if ``events`` asks for more."""
    rnd = random.Random(seed)
    scenarios = list(_scenarios(accounts, lines, calls, rnd))
    wanted: list[WantedCall] = []
    deliveries: list[Delivery] = []
    placed: list[_Placed] = []
    near = _NEAR_SPAN / max(1, calls * 4)
    for number, (account, scenario) in enumerate(scenarios):
        requests = account.operator.simulate(scenario)
        wanted.append(_wanted(account, scenario, requests[0]))
        places = _places(len(requests), near, rnd)
        for step, (request, place) in enumerate(zip(requests, places, strict=True)):
            shot = _shot(account, request, len(deliveries))
            deliveries.append(_delivery(account, request, number))
            placed.append(_Placed(place, shot, step))
    disordered = _out_of_order(placed, deliveries)
    late = _hold_back(placed, rnd)
    placed += _repeats(placed, max(round(len(placed) * DOUBLED), events - len(placed)), near, rnd)
    placed.sort(key=lambda one: one.place)
    return Storm([one.shot for one in placed], deliveries, wanted, late, disordered)


# --- calls ------------------------------------------------------------------------------------


def _scenarios(
    accounts: Sequence[Account], lines: Sequence[str], calls: int, rnd: random.Random
) -> Iterator[tuple[Account, CallScenario]]:
    """Operators take turns; some clients call again and again, most only once."""
    began = utc_now().replace(microsecond=0) - _SLOT * (_SLOTS + 1)
    clients = _clients(max(1, round(calls * _CLIENTS_A_CALL)), rnd)
    free = {client: rnd.sample(range(_SLOTS), _SLOTS) for client in clients}
    for number, account in enumerate(islice(cycle(accounts), calls)):
        client = clients[int(len(clients) * rnd.random() ** 2)]
        while not free[client]:
            client = rnd.choice(clients)
        direction, answered = _kind(rnd)
        yield (
            account,
            CallScenario(
                call_key=f"storm-{seed_text(rnd)}-{number}",
                client_number=client,
                line_number=rnd.choice(lines),
                extension=rnd.choice(sorted(account.employees)),
                started_at=began + _SLOT * free[client].pop() + _seconds(rnd, 0, 60),
                direction=direction,
                answered=answered,
                recorded=account.operator.slug in RECORDED,
                menu=_seconds(rnd, 2, 10),
                ringing=_seconds(rnd, 3, 25),
                talk=_seconds(rnd, 15, _LONGEST_TALK),
            ),
        )


def seed_text(rnd: random.Random) -> str:
    """Letters that make the ids of two calls differ in more than a number."""
    return f"{rnd.getrandbits(32):08x}"


def _clients(count: int, rnd: random.Random) -> list[str]:
    """Invented mobile numbers: the zeros after the code are nobody's."""
    most = len(_CODES) * 100_000
    return [
        f"7{_CODES[one % len(_CODES)]}00{one // len(_CODES):05d}"
        for one in rnd.sample(range(most), count)
    ]


def _kind(rnd: random.Random) -> tuple[Direction, bool]:
    chance = rnd.random()
    for direction, answered, share in _KINDS:
        chance -= share
        if chance < 0:
            return direction, answered
    return _KINDS[0][:2]


def _seconds(rnd: random.Random, least: int, most: int) -> dt.timedelta:
    return dt.timedelta(seconds=rnd.randint(least, most))


def _wanted(account: Account, scenario: CallScenario, first: SimulatedRequest) -> WantedCall:
    events = account.operator.parse(first.received(utc_now(), account.token))
    return WantedCall(account, scenario, events[0].provider_call_id)


# --- requests ---------------------------------------------------------------------------------


def _shot(account: Account, request: SimulatedRequest, delivery: int) -> Shot:
    tail = f"/{quote(request.path_tail)}" if request.path_tail else ""
    query = f"?{urlencode(request.query)}" if request.query else ""
    target = f"/telephony/{account.operator.slug}/{account.token}{tail}{query}"
    return Shot(delivery, request.method, target, dict(request.headers), request.body)


def _delivery(account: Account, request: SimulatedRequest, call: int) -> Delivery:
    key = account.operator.delivery_key(request.received(utc_now(), account.token))
    return Delivery(f"telephony:{account.connection_id}", key[:128], call)


# --- the order --------------------------------------------------------------------------------


def _places(count: int, near: float, rnd: random.Random) -> list[float]:
    """Where the notices of a call go in the storm, from 0 to 1."""
    chance, begin = rnd.random(), rnd.random()
    if chance < _NEAR:
        return [begin + near * rnd.random() for _ in range(count)]
    if chance < _NEAR + _FAR:
        return [rnd.random() for _ in range(count)]
    return [begin + near * step / 1_000 for step in range(count)]


def _out_of_order(placed: Sequence[_Placed], deliveries: Sequence[Delivery]) -> int:
    """Calls with a notice that comes before an earlier one."""
    last: dict[int, int] = {}
    broken: set[int] = set()
    for one in sorted(placed, key=lambda one: one.place):
        call = deliveries[one.shot.delivery].call
        if one.step < last.get(call, -1):
            broken.add(call)
        last[call] = max(one.step, last.get(call, -1))
    return len(broken)


def _hold_back(placed: list[_Placed], rnd: random.Random) -> int:
    """Put some requests behind all others; how many."""
    chosen = rnd.sample(range(len(placed)), round(len(placed) * LATE))
    for index in chosen:
        one = placed[index]
        placed[index] = _Placed(2 + rnd.random(), one.shot, one.step)
    return len(chosen)


def _repeats(
    placed: Sequence[_Placed], count: int, near: float, rnd: random.Random
) -> list[_Placed]:
    """The same bytes again: half of them almost at once, the others at any later time."""
    again = []
    for one in (rnd.choice(placed) for _ in range(count)):
        soon = rnd.random() < 0.5
        pause = near * rnd.random() / 10 if soon else rnd.random()
        again.append(_Placed(one.place + pause, one.shot, one.step))
    return again
