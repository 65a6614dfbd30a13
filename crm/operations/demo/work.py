"""What was done in the deals: tasks of the past, the next ones, notes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from crm.models import Comment, EventKind, Task, TimelineEvent
from crm.operations.demo import words
from crm.operations.demo.stories import DAY, Story
from crm.operations.demo.world import World


def plan_tasks(world: World, stories: list[Story]) -> dict[int, list[dict[str, Any]]]:
    """Done tasks of the past and, for most open deals, the next one, by ``id`` of the story."""
    found: dict[int, list[dict[str, Any]]] = {}
    for story in stories:
        if story.owner is None or not story.saved:
            continue
        rows = [_done_task(world, story) for _ in range(world.rnd.choice((0, 1, 1, 2)))]
        if story.closed is None and story.stage.tasks_allowed and world.rnd.random() < 0.84:
            rows.append(_next_task(world, story))
        found[id(story)] = [row for row in rows if row is not None]
    return found


def write_tasks(world: World, stories: list[Story], tasks: dict[int, list[dict[str, Any]]]) -> None:
    """Store the planned tasks of the stored deals and their lines in the feed."""
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


def write_notes(world: World, stories: list[Story]) -> None:
    """Comments of the responsible, while the deal was in work."""
    rows, lines = [], []
    for story in stories:
        if story.owner is None or not story.saved:
            continue
        for _ in range(min(len(story.visits), world.rnd.choice((0, 1, 1, 2)))):
            moment = moment_within(world, story, 0.05, 6)
            if moment is not None:
                rows.append(
                    {
                        "deal_id": story.id,
                        "author_id": story.owner.id,
                        "text": world.rnd.choice(words.COMMENTS),
                        "created_at": moment,
                        "updated_at": moment,
                    }
                )
    for row, number in zip(rows, world.insert(Comment, rows), strict=True):
        lines.append(
            {
                "deal_id": row["deal_id"],
                "kind": EventKind.COMMENT,
                "actor_id": row["author_id"],
                "occurred_at": row["created_at"],
                "comment_id": number,
                "data": {},
            }
        )
    world.insert(TimelineEvent, lines)


def moment_within(world: World, story: Story, soon: float, late: float) -> dt.datetime | None:
    """A working hour in the life of the deal, ``soon`` to ``late`` days after its birth."""
    moment = world.daytime(story.born + DAY * world.rnd.uniform(soon, late))
    return moment if story.born < moment < (story.closed or world.now) else None


def _done_task(world: World, story: Story) -> dict[str, Any] | None:
    done = moment_within(world, story, 0.1, 7)
    if done is None:
        return None
    text, kind, result = world.rnd.choice(words.DONE_TASKS)
    due = done.replace(minute=0, second=0) + dt.timedelta(minutes=world.rnd.choice((0, 30, 60)))
    return {**_task(story, text, kind, due), "done_at": done, "result": result, "updated_at": done}


def _next_task(world: World, story: Story) -> dict[str, Any]:
    """Few are late, most are for today and the next days; what today has left is for tomorrow."""
    days = world.rnd.choices([-2, -1, 0, 1, 2, 3, 6], [2, 4, 26, 24, 18, 14, 12])[0]
    local = (world.now + DAY * days).astimezone(world.zone)
    due = local.replace(
        hour=world.rnd.randint(10, 19), minute=world.rnd.choice((0, 0, 30)), second=0
    )
    if days == 0 and due <= local and world.rnd.random() < 0.9:
        due += DAY
    text, kind, preset = _wording(world, story)
    return {**_task(story, text, kind, due.astimezone(dt.UTC)), "status_id": preset}


def _wording(world: World, story: Story) -> tuple[str, str, int | None]:
    """Mostly a preset of the stage."""
    presets = list(story.stage.statuses)
    if presets and world.rnd.random() < 0.65:
        preset = world.rnd.choice(presets)
        return preset.text, preset.task_kind, preset.id
    return (*world.rnd.choice(words.TASKS), None)


def _task(story: Story, text: str, kind: str, due: dt.datetime) -> dict[str, Any]:
    owner = story.owner.id if story.owner else None
    return {
        "text": text,
        "kind": kind,
        "status_id": None,
        "due_at": due,
        "has_time": True,
        "responsible_id": owner,
        "author_id": owner,
        "done_at": None,
        "result": None,
        "created_at": story.born,
        "updated_at": story.born,
    }
