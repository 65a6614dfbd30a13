"""What happened: who came, from where, what for, and how each deal went through the stages."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crm.models import StageType
from crm.operations.demo import words
from crm.operations.demo.world import Person, Track, World

DAY = dt.timedelta(days=1)
# Roubles in millions for a need with so many rooms (0 is a studio).
_FLAT_PRICES = {0: 5.4, 1: 7.4, 2: 10.8, 3: 15.2, 4: 21.0}
_PRICES = {"room": 3.1, "house": 13.5, "townhouse": 12.5, "land": 3.6}
_KINDS = (("flat", 60), ("new_flat", 20), ("house", 9), ("land", 5), ("townhouse", 3), ("room", 3))
_COUNTRY = {"house", "land", "townhouse"}


@dataclass(slots=True)
class Client:
    """Somebody who came at least once; ``id`` is known once he is stored."""

    name: str
    born: dt.datetime
    owner: Person | None
    id: int = 0


@dataclass(slots=True)
class Story:
    """One deal before it is written. ``channel`` «manual»: made by hand, without an appeal."""

    track: Track
    owner: Person | None
    source: Any
    channel: str
    born: dt.datetime
    visits: list[tuple[Any, dt.datetime]]
    kind: str = "flat"
    saved: bool = True
    amount: Decimal | None = None
    need: dict[str, Any] = field(default_factory=dict)
    client: Client | None = None
    is_repeat: bool = False
    id: int = 0

    @property
    def stage(self) -> Any:
        return self.visits[-1][0]

    @property
    def closed(self) -> dt.datetime | None:
        stage, moment = self.visits[-1]
        return None if stage.type == StageType.IN_WORK else moment

    @property
    def contact(self) -> int:
        assert self.client is not None
        return self.client.id


def make_stories(world: World) -> tuple[list[Story], list[Client]]:
    """Stories in the order of their beginning, and their clients."""
    stories = [_past(world) for _ in range(world.count(2230))]
    stories += [_fresh(world, index) for index in range(world.count(9))]
    stories.sort(key=lambda story: story.born)
    return stories, _acquaint(world, stories)


def person_name(world: World) -> str:
    """A man, a woman or, seldom, a company."""
    rnd = world.rnd
    if rnd.random() < 0.006:
        return rnd.choice(words.COMPANIES)
    surname = rnd.choice(words.SURNAMES)
    if rnd.random() < 0.5:
        return f"{rnd.choice(words.MEN)} {surname}"
    return f"{rnd.choice(words.WOMEN)} {surname}а"


# --- who ------------------------------------------------------------------------


def _acquaint(world: World, stories: list[Story]) -> list[Client]:
    """Give each story its client: mostly a new one, else one whose earlier deals are over."""
    clients: list[Client] = []
    busy: dict[int, Story] = {}
    for story in stories:
        client = _earlier(world, clients, busy, story)
        story.is_repeat = client is not None
        if client is None:
            # Who has only called is known by his number until somebody asks his name.
            told = story.saved or story.channel != "call"
            client = Client(person_name(world) if told else "", story.born, story.owner)
            clients.append(client)
        story.client = client
        client.owner = story.owner or client.owner
        busy[id(client)] = story
    return clients


def _earlier(
    world: World, clients: list[Client], busy: dict[int, Story], story: Story
) -> Client | None:
    """A second open deal of one client would have joined the first."""
    if not clients or world.rnd.random() < 0.74:
        return None
    client = world.rnd.choice(clients)
    over = busy[id(client)].closed
    return client if over is not None and over < story.born else None


# --- one deal -------------------------------------------------------------------


def _past(world: World) -> Story:
    rnd = world.rnd
    age = rnd.uniform(0.5, 365)
    track = world.owners if rnd.random() < 0.16 else world.buyers
    assert track is not None
    born = world.working_moment(age)
    kinds, weights = zip(*_KINDS, strict=True)
    kind = rnd.choices(kinds, weights)[0]
    source, channel = _way_in(world)
    story = Story(
        track,
        world.seller_of("country" if kind in _COUNTRY else kind),
        source,
        channel,
        born,
        _visits(world, track, born, age),
        kind,
    )
    rooms = rnd.choices([0, 1, 2, 3, 4], [12, 30, 34, 20, 4])[0]
    story.amount = _amount(world, story, rooms)
    story.need = _need(world, kind, rooms) if track is world.buyers else {}
    return story


def _fresh(world: World, index: int) -> Story:
    """Came within the last hours and nobody has touched it yet; the first two are nobody's."""
    rnd = world.rnd
    track = world.buyers
    assert track is not None
    born = world.now - dt.timedelta(minutes=rnd.randint(4, 170))
    source, channel = _way_in(world)
    while channel == "manual":
        source, channel = _way_in(world)
    return Story(
        track,
        None if index < 2 else rnd.choice(world.sellers),
        source,
        channel,
        born,
        [(track.working[0], born)],
        saved=False,
    )


def _way_in(world: World) -> tuple[Any, str]:
    """A source and a channel by which its clients really come."""
    sources, weights = zip(*world.sources, strict=True)
    source = world.rnd.choices(sources, weights)[0]
    ways = ["call", "call", "call"] if source.phone else []
    if source.utm_source or source.channel == "site_form":
        ways += ["site_form", "site_form"]
    if source.channel in ("vk_lead_form", "vk_message", "telegram", "email"):
        ways += [source.channel, source.channel]
    return source, world.rnd.choice(ways or ["manual"])


def _visits(
    world: World, track: Track, born: dt.datetime, age: float
) -> list[tuple[Any, dt.datetime]]:
    """Stages in the order of the pipeline, each a few days after the last, then an end."""
    rnd = world.rnd
    visits = [(track.working[0], born)]
    reach = rnd.choices(range(len(track.working)), [30, 32, 22, 9, 7][: len(track.working)])[0]
    for stage in track.working[1 : reach + 1]:
        moment = _after(world, visits[-1][1], rnd.uniform(0.2, 9))
        if moment is None:
            return visits
        visits.append((stage, moment))
    end = _ending(world, track, age, reach)
    if end is not None:
        moment = _after(world, visits[-1][1], rnd.uniform(0.5, 12))
        if moment is not None:
            visits.append((end, moment))
    return visits


def _after(world: World, earlier: dt.datetime, days: float) -> dt.datetime | None:
    """A working hour so many days later; None when that is still to come."""
    moment = world.daytime(earlier + DAY * days)
    return moment if earlier < moment < world.now else None


def _ending(world: World, track: Track, age: float, reach: int) -> Any:
    """How it ended; None while it is still open. Only a deal near the end can be won."""
    still_open = 0.62 if age < 25 else 0.22 if age < 60 else 0.05 if age < 150 else 0.008
    if world.rnd.random() < still_open:
        return None
    won = 62 if reach >= len(track.working) - 2 else 0
    # Putting off is open work: the mandatory stages come before it.
    later = 5 if track.deferred is not None and reach > 0 else 0
    choices = [track.success, track.refusal, track.non_target, track.archive, track.deferred]
    return world.rnd.choices(choices, [won, 46, 20, 6, later])[0]


# --- what for -------------------------------------------------------------------


def _amount(world: World, story: Story, rooms: int) -> Decimal | None:
    """Price around what such a thing costs; a first talk or a wrong number often names none."""
    rnd = world.rnd
    untold = 0.7 if story.stage.type == StageType.NON_TARGET else 0.45
    if rnd.random() < untold and (
        story.stage is story.track.working[0] or story.stage.type == StageType.NON_TARGET
    ):
        return None
    base = _PRICES.get(story.kind) or _FLAT_PRICES[rooms]
    if story.kind == "new_flat":
        base *= 1.12
    return Decimal(max(9, round(base * rnd.lognormvariate(0, 0.24) * 10))) * 100_000


def _need(world: World, kind: str, rooms: int) -> dict[str, Any]:
    rnd = world.rnd
    if kind in _COUNTRY:
        area = rnd.randrange(8, 20) * 10
        need: dict[str, Any] = {"kind": kind, "districts": rnd.sample(words.SUBURBS, 1)}
        return need if kind == "land" else {**need, "area_from": str(area)}
    need = {"kind": kind, "districts": rnd.sample(sorted(words.STREETS), rnd.choice((1, 1, 2)))}
    if kind == "room":
        return need
    need["rooms"] = [rooms]
    if rnd.random() < 0.6:
        need["area_from"] = str(22 + rooms * 14 + rnd.randrange(0, 10))
    return need
