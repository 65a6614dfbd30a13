"""Clients and their deals: the way each went through the stages, tasks, notes, the feed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crm.models import (
    Comment,
    Contact,
    ContactEmail,
    ContactPhone,
    Deal,
    EventKind,
    MoveHow,
    SearchToken,
    StageHistory,
    StageType,
    Task,
    TimelineEvent,
)
from crm.operations import search_index
from crm.operations.deal_fields import need_summary
from crm.operations.demo import words
from crm.operations.demo.world import Person, Track, World
from crm.values import phones

DAY = dt.timedelta(days=1)
_CHANNELS = ("call", "call", "call", "site_form", "site_form", "vk_lead_form", "manual")


@dataclass(slots=True)
class Story:
    """One deal before it is written."""

    track: Track
    contact: int
    owner: Person | None
    source: Any
    channel: str
    born: dt.datetime
    visits: list[tuple[Any, dt.datetime]]
    saved: bool = True
    amount: Decimal | None = None
    need: dict[str, Any] = field(default_factory=dict)
    id: int = 0

    @property
    def stage(self) -> Any:
        return self.visits[-1][0]

    @property
    def closed(self) -> dt.datetime | None:
        stage, moment = self.visits[-1]
        return None if stage.type == StageType.IN_WORK else moment


def make_clients(world: World) -> list[Story]:
    """Contacts, deals and everything that hangs on a deal, but for calls."""
    contacts = _contacts(world, world.count(1700))
    stories = [_story(world, contacts) for _ in range(world.count(2230))]
    stories += [_fresh(world, contacts) for _ in range(world.count(9))]
    stories.sort(key=lambda story: story.born)
    tasks = _tasks(world, stories)
    ids = world.insert(Deal, [_deal_row(world, story, tasks.get(id(story))) for story in stories])
    for story, number in zip(stories, ids, strict=True):
        story.id = number
    _history(world, stories)
    _write_tasks(world, stories, tasks)
    _notes(world, stories)
    return stories


# --- contacts -------------------------------------------------------------------


def _contacts(world: World, count: int) -> list[int]:
    names = [person_name(world) for _ in range(count)]
    sellers = world.sellers
    rows = []
    for name in names:
        born = world.working_moment(world.rnd.uniform(0, 365))
        rows.append(
            {
                "name": name,
                "is_company": "«" in name,
                "responsible_id": world.rnd.choice(sellers).id,
                "created_at": born,
                "updated_at": born,
            }
        )
    ids = world.insert(Contact, rows)
    numbers, mails, tokens = [], [], []
    for contact, name in zip(ids, names, strict=True):
        for position in range(2 if world.rnd.random() < 0.08 else 1):
            numbers.append(_number_row(world, contact, position))
        if world.rnd.random() < 0.35:
            mails.append({"contact_id": contact, "email": f"client{contact}@example.ru"})
        tokens += [
            {"token": word, "kind": "contact", "object_id": contact}
            for word in search_index.words(name)
        ]
    world.insert(ContactPhone, numbers)
    world.insert(ContactEmail, mails)
    world.insert(SearchToken, tokens)
    return ids


def _number_row(world: World, contact: int, position: int) -> dict[str, Any]:
    number = world.phone()
    key = phones.match_key(number)
    return {
        "contact_id": contact,
        "number": number,
        "key": key,
        "key_reversed": key[::-1],
        "position": position,
    }


def person_name(world: World) -> str:
    rnd = world.rnd
    if rnd.random() < 0.02:
        return rnd.choice(words.COMPANIES)
    surname = rnd.choice(words.SURNAMES)
    if rnd.random() < 0.5:
        return f"{rnd.choice(words.MEN)} {surname}"
    return f"{rnd.choice(words.WOMEN)} {surname}а"


# --- deals ----------------------------------------------------------------------


def _story(world: World, contacts: list[int]) -> Story:
    rnd = world.rnd
    age = rnd.uniform(0.5, 365)
    track = world.owners if rnd.random() < 0.16 else world.buyers
    assert track is not None
    born = world.working_moment(age)
    owner = rnd.choice(world.sellers)
    story = Story(
        track,
        rnd.choice(contacts),
        owner,
        _source(world),
        rnd.choice(_CHANNELS),
        born,
        _visits(world, track, born, age),
        amount=Decimal(rnd.randrange(32, 420)) * 100_000,
    )
    story.need = _need(world) if track is world.buyers else {}
    return story


def _fresh(world: World, contacts: list[int]) -> Story:
    """Came today and nobody has touched it yet."""
    track = world.buyers
    assert track is not None
    born = world.now - dt.timedelta(minutes=world.rnd.randint(4, 170))
    owner = world.rnd.choice([*world.sellers, None])
    channel = world.rnd.choice(("call", "site_form"))
    return Story(
        track,
        world.rnd.choice(contacts),
        owner,
        _source(world),
        channel,
        born,
        [(track.working[0], born)],
        saved=False,
    )


def _source(world: World) -> Any:
    sources, weights = zip(*world.sources, strict=True)
    return world.rnd.choices(sources, weights)[0]


def _visits(
    world: World, track: Track, born: dt.datetime, age: float
) -> list[tuple[Any, dt.datetime]]:
    """Stages in the order of the pipeline, each a few days after the last, then an end."""
    rnd = world.rnd
    visits = [(track.working[0], born)]
    moment = born
    reach = rnd.choices(range(len(track.working)), [30, 32, 22, 9, 7][: len(track.working)])[0]
    for stage in track.working[1 : reach + 1]:
        moment += DAY * rnd.uniform(0.3, 9)
        if moment >= world.now:
            return visits
        visits.append((stage, moment))
    end = _ending(world, track, age, reach)
    if end is not None:
        moment += DAY * rnd.uniform(0.5, 12)
        if moment < world.now:
            visits.append((end, moment))
    return visits


def _ending(world: World, track: Track, age: float, reach: int) -> Any:
    """How it ended; None while it is still open. Only a deal near the end can be won."""
    if world.rnd.random() < (0.6 if age < 25 else 0.07):
        return None
    won = 62 if reach >= len(track.working) - 2 else 0
    choices = [track.success, track.refusal, track.non_target, track.archive, track.deferred]
    weights = [won, 46, 20, 6, 12 if track.deferred is not None else 0]
    return world.rnd.choices(choices, weights)[0]


def _need(world: World) -> dict[str, Any]:
    rnd = world.rnd
    rooms = rnd.choices([0, 1, 2, 3, 4], [12, 30, 34, 20, 4])[0]
    need: dict[str, Any] = {
        "kind": rnd.choice(("flat", "flat", "flat", "new_flat")),
        "rooms": [rooms],
        "districts": rnd.sample(sorted(words.STREETS), rnd.choice((1, 1, 2))),
    }
    if rnd.random() < 0.6:
        need["area_from"] = str(24 + rooms * 15 + rnd.randrange(0, 10))
    return need


def _deal_row(world: World, story: Story, tasks: list[dict[str, Any]] | None) -> dict[str, Any]:
    rnd = world.rnd
    stage, entered = story.visits[-1]
    waiting = sorted(
        (task for task in tasks or [] if task["done_at"] is None), key=lambda task: task["due_at"]
    )
    won = stage.type == StageType.SUCCESS
    return {
        "pipeline_id": story.track.pipeline_id,
        "stage_id": stage.id,
        "contact_id": story.contact,
        "responsible_id": story.owner.id if story.owner else None,
        "department_id": story.owner.department_id if story.owner else None,
        "source_id": story.source.id,
        "channel": story.channel,
        "amount": story.amount,
        "payment": rnd.choice(words.PAYMENTS) if story.saved else None,
        "need": story.need,
        "need_text": need_summary(story.need) or None,
        "is_saved": story.saved,
        "processed_at": story.born + dt.timedelta(minutes=rnd.randint(1, 50))
        if story.saved
        else None,
        "first_appeal_at": story.born,
        "stage_entered_at": entered,
        "last_activity_at": entered,
        "next_task_due": waiting[0]["due_at"] if waiting else None,
        "next_task_text": waiting[0]["text"] if waiting else None,
        "closed_at": story.closed,
        "loss_reason_id": rnd.choice(world.loss_reasons)
        if stage.type == StageType.REFUSAL
        else None,
        "won_amount": story.amount if won else None,
        "won_on": entered.date() if won else None,
        "commission": story.amount * Decimal("0.03") if won and story.amount else None,
        "created_at": story.born,
        "updated_at": entered,
        "version": 1,
    }


def _history(world: World, stories: list[Story]) -> None:
    """Rows of the moves and their lines in the feed."""
    moves: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for story in stories:
        before = None
        for stage, moment in story.visits:
            actor = story.owner.id if story.owner and before is not None else None
            moves.append(
                {
                    "deal_id": story.id,
                    "from_stage_id": before.id if before else None,
                    "to_stage_id": stage.id,
                    "actor_id": actor,
                    "moved_at": moment,
                    "how": MoveHow.MANUAL if before else MoveHow.INTAKE,
                }
            )
            data = (
                {"old": before.name, "new": stage.name, "how": "manual", "unchecked": False}
                if before
                else {
                    "how": "intake",
                    "channel": story.channel,
                    "source": story.source.name,
                    "stage": stage.name,
                }
            )
            kind = EventKind.STAGE if before else EventKind.CREATED
            lines.append(_line(story, kind, moment, actor, data))
            before = stage
    world.insert(StageHistory, moves)
    world.insert(TimelineEvent, lines)


def _line(
    story: Story, kind: EventKind, moment: dt.datetime, actor: int | None, data: dict[str, Any]
) -> dict[str, Any]:
    return {
        "deal_id": story.id,
        "kind": kind,
        "actor_id": actor,
        "occurred_at": moment,
        "data": data,
        "comment_id": data.pop("comment_id", None),
    }


# --- tasks and notes ------------------------------------------------------------


def _tasks(world: World, stories: list[Story]) -> dict[int, list[dict[str, Any]]]:
    """Done tasks of the past and, for most open deals, the next one."""
    found: dict[int, list[dict[str, Any]]] = {}
    for story in stories:
        if story.owner is None or not story.saved:
            continue
        rows = [_done_task(world, story) for _ in range(world.rnd.choice((0, 1, 1, 2)))]
        if story.closed is None and story.stage.tasks_allowed and world.rnd.random() < 0.82:
            rows.append(_next_task(world, story))
        found[id(story)] = [row for row in rows if row is not None]
    return found


def _done_task(world: World, story: Story) -> dict[str, Any] | None:
    done = story.born + DAY * world.rnd.uniform(0.1, 6)
    if done >= world.now:
        return None
    return _task_row(world, story, done, done, "Сделано")


def _next_task(world: World, story: Story) -> dict[str, Any]:
    days = world.rnd.choices([-2, -1, 0, 1, 2, 4, 7], [3, 5, 26, 22, 18, 16, 10])[0]
    local = (world.now + DAY * days).astimezone(world.zone)
    due = local.replace(
        hour=world.rnd.randint(10, 19), minute=world.rnd.choice((0, 0, 30)), second=0
    )
    return _task_row(world, story, due.astimezone(dt.UTC), None, None)


def _task_row(
    world: World, story: Story, due: dt.datetime, done: dt.datetime | None, result: str | None
) -> dict[str, Any]:
    text, kind = world.rnd.choice(words.TASKS)
    owner = story.owner.id if story.owner else None
    return {
        "text": text,
        "kind": kind,
        "due_at": due,
        "has_time": True,
        "responsible_id": owner,
        "author_id": owner,
        "done_at": done,
        "result": result,
        "created_at": story.born,
        "updated_at": done or story.born,
    }


def _write_tasks(
    world: World, stories: list[Story], tasks: dict[int, list[dict[str, Any]]]
) -> None:
    rows = [{**task, "deal_id": story.id} for story in stories for task in tasks.get(id(story), [])]
    world.insert(Task, rows)
    lines = [
        {
            "deal_id": row["deal_id"],
            "kind": EventKind.TASK_DONE,
            "actor_id": row["responsible_id"],
            "occurred_at": row["done_at"],
            "data": {"text": row["text"], "kind": row["kind"], "result": row["result"]},
        }
        for row in rows
        if row["done_at"] is not None
    ]
    world.insert(TimelineEvent, lines)


def _notes(world: World, stories: list[Story]) -> None:
    rows, places = [], []
    for story in stories:
        if story.owner is None or not story.saved:
            continue
        for _ in range(min(len(story.visits), world.rnd.choice((0, 1, 1, 2)))):
            moment = story.born + DAY * world.rnd.uniform(0.05, 5)
            if moment < world.now:
                places.append((story, moment))
                rows.append(
                    {
                        "deal_id": story.id,
                        "author_id": story.owner.id,
                        "text": world.rnd.choice(words.COMMENTS),
                        "created_at": moment,
                        "updated_at": moment,
                    }
                )
    ids = world.insert(Comment, rows)
    lines = [
        _line(
            story,
            EventKind.COMMENT,
            moment,
            story.owner.id if story.owner else None,
            {"comment_id": number},
        )
        for (story, moment), number in zip(places, ids, strict=True)
    ]
    world.insert(TimelineEvent, lines)
