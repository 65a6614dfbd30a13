"""Clients and their deals as rows: contacts, the moves through the stages, the feed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from crm.models import (
    Contact,
    ContactEmail,
    ContactPhone,
    Deal,
    EventKind,
    MoveHow,
    SearchToken,
    StageHistory,
    StageType,
    TimelineEvent,
)
from crm.operations import search_index
from crm.operations.deal_fields import need_summary
from crm.operations.demo import words
from crm.operations.demo.stories import Client, Story, make_stories
from crm.operations.demo.work import plan_tasks, write_notes, write_tasks
from crm.operations.demo.world import World
from crm.values import phones

_COMMISSION = Decimal("0.03")


def make_clients(world: World) -> list[Story]:
    """Contacts, deals and everything that hangs on a deal, but for calls."""
    stories, clients = make_stories(world)
    _contacts(world, clients)
    tasks = plan_tasks(world, stories)
    ids = world.insert(Deal, [_deal_row(world, story, tasks.get(id(story))) for story in stories])
    for story, number in zip(stories, ids, strict=True):
        story.id = number
    _history(world, stories)
    write_tasks(world, stories, tasks)
    write_notes(world, stories)
    return stories


# --- contacts -------------------------------------------------------------------


def _contacts(world: World, clients: list[Client]) -> None:
    rows = [
        {
            "name": client.name,
            "is_company": "«" in client.name,
            "responsible_id": client.owner.id if client.owner else None,
            "created_at": client.born,
            "updated_at": client.born,
        }
        for client in clients
    ]
    numbers: list[dict[str, Any]] = []
    mails: list[dict[str, Any]] = []
    for client, number in zip(clients, world.insert(Contact, rows), strict=True):
        client.id = number
        count = 2 if world.rnd.random() < 0.08 else 1
        numbers += [number_row(world, number, position) for position in range(count)]
        if world.rnd.random() < 0.35:
            mails.append({"contact_id": number, "email": f"client{len(mails) + 1}@example.ru"})
    world.insert(ContactPhone, numbers)
    world.insert(ContactEmail, mails)
    world.insert(SearchToken, name_tokens({client.id: client.name for client in clients}))


def number_row(world: World, contact: int, position: int = 0) -> dict[str, Any]:
    """An invented number with its keys."""
    number = world.phone()
    key = phones.match_key(number)
    return {
        "contact_id": contact,
        "number": number,
        "key": key,
        "key_reversed": key[::-1],
        "position": position,
    }


def name_tokens(names: dict[int, str]) -> list[dict[str, Any]]:
    """Words of contacts' names for the search."""
    return [
        {"token": word, "kind": search_index.CONTACT, "object_id": contact}
        for contact, name in names.items()
        for word in search_index.words(name)
    ]


# --- deals ----------------------------------------------------------------------


def _deal_row(world: World, story: Story, tasks: list[dict[str, Any]] | None) -> dict[str, Any]:
    rnd = world.rnd
    stage, entered = story.visits[-1]
    owner = story.owner
    waiting = [task for task in tasks or [] if task["done_at"] is None]
    nearest = min(waiting, key=lambda task: task["due_at"], default=None)
    told = world.now - story.born
    answered = min(dt.timedelta(minutes=rnd.randint(1, 50)), told)
    refused = stage.type == StageType.REFUSAL
    return {
        "pipeline_id": story.track.pipeline_id,
        "stage_id": stage.id,
        "contact_id": story.contact,
        "responsible_id": owner.id if owner else None,
        "author_id": owner.id if owner and story.channel == "manual" else None,
        "department_id": owner.department_id if owner else None,
        "source_id": story.source.id,
        "channel": story.channel,
        "amount": story.amount,
        "payment": rnd.choice(words.PAYMENTS) if story.saved and story.amount else None,
        "need": story.need,
        "need_text": need_summary(story.need) or None,
        "is_saved": story.saved,
        "processed_at": story.born + answered if story.saved else None,
        "first_appeal_at": story.born,
        "stage_entered_at": entered,
        "last_activity_at": entered,
        "next_task_due": nearest["due_at"] if nearest else None,
        "next_task_text": nearest["text"] if nearest else None,
        "closed_at": story.closed,
        "loss_reason_id": rnd.choice(world.loss_reasons) if refused else None,
        **_success(story),
        "created_at": story.born,
        "updated_at": entered,
        "version": 1,
    }


def _success(story: Story) -> dict[str, Any]:
    stage, entered = story.visits[-1]
    if stage.type != StageType.SUCCESS or story.amount is None:
        return {"won_amount": None, "won_on": None, "commission": None}
    return {
        "won_amount": story.amount,
        "won_on": entered.date(),
        "commission": story.amount * _COMMISSION,
    }


def _history(world: World, stories: list[Story]) -> None:
    """Rows of the moves and their lines in the feed."""
    moves: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for story in stories:
        before = None
        how = MoveHow.MANUAL if story.channel == "manual" else MoveHow.INTAKE
        for stage, moment in story.visits:
            by_hand = before is not None or how is MoveHow.MANUAL
            actor = story.owner.id if story.owner and by_hand else None
            moves.append(
                {
                    "deal_id": story.id,
                    "from_stage_id": before.id if before else None,
                    "to_stage_id": stage.id,
                    "actor_id": actor,
                    "moved_at": moment,
                    "how": MoveHow.MANUAL if before else how,
                }
            )
            data = _move_data(before, stage) if before else _birth_data(story, how)
            lines.append(
                {
                    "deal_id": story.id,
                    "kind": EventKind.STAGE if before else EventKind.CREATED,
                    "actor_id": actor,
                    "occurred_at": moment,
                    "data": data,
                }
            )
            before = stage
    world.insert(StageHistory, moves)
    world.insert(TimelineEvent, lines)


def _move_data(before: Any, stage: Any) -> dict[str, Any]:
    return {"old": before.name, "new": stage.name, "how": MoveHow.MANUAL, "unchecked": False}


def _birth_data(story: Story, how: MoveHow) -> dict[str, Any]:
    return {
        "how": how,
        "channel": story.channel,
        "source": story.source.name,
        "stage": story.visits[0][0].name,
    }
