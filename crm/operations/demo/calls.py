"""Calls with recordings and the appeals that started the deals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from crm.models import (
    Appeal,
    Call,
    CallState,
    ContactPhone,
    EventKind,
    RecordingState,
    StoredFile,
    TimelineEvent,
    db,
)
from crm.operations import files
from crm.operations.demo import sounds, words
from crm.operations.demo.clients import Story
from crm.operations.demo.world import World
from crm.values import phones

_CAMPAIGNS = ("brand", "vtorichka", "novostroyki", "ipoteka", "retarget")


def make_calls(world: World, stories: list[Story]) -> None:
    """First calls and requests of the deals, and calls in between."""
    _store_recordings(world)
    numbers = _numbers([story.contact for story in stories])
    seen: set[int] = set()
    plan: list[tuple[Story, dict[str, Any], bool]] = []
    for story in stories:
        first = story.contact not in seen
        seen.add(story.contact)
        if story.channel == "call":
            plan.append((story, _incoming(world, story, numbers, first), True))
        for _ in range(world.rnd.choice((0, 0, 1, 1, 2)) if story.saved and story.owner else 0):
            row = _between(world, story, numbers)
            if row is not None:
                plan.append((story, row, False))
    ids = world.insert(Call, [row for _story, row, _first in plan])
    appeals = [
        _call_appeal(story, row, number)
        for (story, row, is_first), number in zip(plan, ids, strict=True)
        if is_first
    ]
    appeals += [
        _request(world, story) for story in stories if story.channel not in ("call", "manual")
    ]
    appeal_ids = world.insert(Appeal, appeals)
    by_deal = dict(zip((row["deal_id"] for row in appeals), appeal_ids, strict=True))
    _lines(world, plan, ids, appeals, by_deal)


def _store_recordings(world: World) -> None:
    for seconds in sounds.LENGTHS:
        data = sounds.recording(seconds, world.rnd)
        stored = files.store_bytes(data, "audio/wav", kind="recordings")
        world.remember(StoredFile, [stored.id])
        world.recordings.append((stored.id, seconds))


def _numbers(contacts: Sequence[int]) -> dict[int, str]:
    query = select(ContactPhone.contact_id, ContactPhone.number).where(ContactPhone.position == 0)
    wanted = set(contacts)
    return {row[0]: row[1] for row in db.session.execute(query) if row[0] in wanted}


def _incoming(world: World, story: Story, numbers: dict[int, str], first: bool) -> dict[str, Any]:
    missed = story.owner is None
    return _call_row(world, story, numbers, "in", story.born, missed=missed, is_first=first)


def _between(world: World, story: Story, numbers: dict[int, str]) -> dict[str, Any] | None:
    until = story.closed or world.now
    moment = story.born + (until - story.born) * world.rnd.random()
    local = moment.astimezone(world.zone).replace(hour=world.rnd.randint(10, 19))
    moment = local.astimezone(dt.UTC)
    if not story.born < moment < world.now:
        return None
    direction = world.rnd.choice(("out", "out", "in"))
    missed = world.rnd.random() < 0.18
    return _call_row(world, story, numbers, direction, moment, missed=missed, is_first=False)


def _call_row(
    world: World,
    story: Story,
    numbers: dict[int, str],
    direction: str,
    moment: dt.datetime,
    *,
    missed: bool,
    is_first: bool,
) -> dict[str, Any]:
    file_id, seconds = world.rnd.choice(world.recordings)
    wait = world.rnd.randint(4, 25)
    talk = 0 if missed else seconds
    digits = phones.digits(numbers.get(story.contact)) or ""
    answered = None if missed else moment + dt.timedelta(seconds=wait)
    lost = missed and direction == "in"
    return {
        "connection_id": world.connection_id,
        "provider_call_id": f"demo-{world.rnd.getrandbits(64):016x}",
        "direction": direction,
        "state": CallState.MISSED if lost else CallState.ENDED,
        "result": "no_answer" if missed else "answered",
        "is_final": True,
        "client_number": digits,
        "client_key": phones.match_key(digits),
        "line_number": phones.digits(story.source.phone) or "78120000100",
        "contact_id": story.contact,
        "deal_id": story.id,
        "employee_id": story.owner.id if story.owner and not lost else None,
        "source_id": story.source.id,
        "is_first": is_first,
        "started_at": moment,
        "answered_at": answered,
        "ended_at": moment + dt.timedelta(seconds=wait + talk),
        "duration_total": wait + talk,
        "talk": talk,
        "recording_state": RecordingState.NONE if missed else RecordingState.STORED,
        "recording_file_id": None if missed else file_id,
        "created_at": moment,
        "updated_at": moment,
    }


def _call_appeal(story: Story, row: dict[str, Any], call_id: int) -> dict[str, Any]:
    line = phones.pretty(row["line_number"])
    why = (
        f"Источник «{story.source.name}» — по номеру {line}"
        if story.source.phone
        else f"Источник «{story.source.name}» выбран сотрудником"
    )
    return {
        **_appeal(story, "call", row["started_at"]),
        "call_id": call_id,
        "phone": row["client_number"],
        "source_step": 2 if story.source.phone else 1,
        "source_why": why,
        "is_repeat": not row["is_first"],
    }


def _request(world: World, story: Story) -> dict[str, Any]:
    source = story.source
    marked = bool(source.utm_source)
    path = world.rnd.choice(("flat", "house", "novostroyki", "services"))
    page = f"https://novy-adres.example.ru/{path}/{world.rnd.randint(1, 400)}"
    campaign = source.utm_campaign or world.rnd.choice(_CAMPAIGNS)
    return {
        **_appeal(story, story.channel, story.born),
        "intake_point_id": world.intake_id,
        "comment": world.rnd.choice(words.REQUESTS),
        "form_name": world.rnd.choice(("Заявка на показ", "Обратный звонок", "Оценка квартиры")),
        "page_url": page,
        "utm_source": source.utm_source if marked else None,
        "utm_medium": (source.utm_medium or "").replace("*", "cpc") if marked else None,
        "utm_campaign": campaign if marked else None,
        "source_step": 3 if marked else 5,
        "source_why": f"Источник «{source.name}» — по меткам UTM"
        if marked
        else f"Источник «{source.name}» — по каналу",
    }


def _appeal(story: Story, channel: str, moment: dt.datetime) -> dict[str, Any]:
    """Keys that every appeal has: bulk inserts want the same ones in each row."""
    return {
        "channel": channel,
        "received_at": moment,
        "contact_id": story.contact,
        "deal_id": story.id,
        "department_id": story.owner.department_id if story.owner else None,
        "responsible_id": story.owner.id if story.owner else None,
        "source_id": story.source.id,
        "created_deal": True,
        "call_id": None,
        "intake_point_id": None,
        "phone": None,
        "comment": None,
        "form_name": None,
        "page_url": None,
        "utm_source": None,
        "utm_medium": None,
        "utm_campaign": None,
        "is_repeat": False,
        "is_spam": False,
        "extra": {},
    }


def _lines(
    world: World,
    plan: list[tuple[Story, dict[str, Any], bool]],
    call_ids: list[int],
    appeals: list[dict[str, Any]],
    by_deal: dict[int, int],
) -> None:
    rows = [
        {
            "deal_id": story.id,
            "contact_id": story.contact,
            "kind": EventKind.CALL,
            "occurred_at": row["started_at"],
            "call_id": number,
            "appeal_id": by_deal.get(story.id) if is_first else None,
            "data": {},
        }
        for (story, row, is_first), number in zip(plan, call_ids, strict=True)
    ]
    rows += [
        {
            "deal_id": row["deal_id"],
            "contact_id": row["contact_id"],
            "kind": EventKind.REQUEST,
            "occurred_at": row["received_at"],
            "call_id": None,
            "appeal_id": by_deal[row["deal_id"]],
            "data": {},
        }
        for row in appeals
        if row["call_id"] is None
    ]
    world.insert(TimelineEvent, rows)
