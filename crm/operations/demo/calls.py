"""Calls with recordings, and the appeals: those that started the deals and later ones."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
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
from crm.operations import files, sources
from crm.operations.attribution import Evidence, Verdict, choose
from crm.operations.demo import sounds, words
from crm.operations.demo.stories import Story
from crm.operations.demo.work import moment_within
from crm.operations.demo.world import World
from crm.values import phones

_CAMPAIGNS = ("brand", "vtorichka", "zagorod", "ipoteka", "retarget")
_FORMS = ("Заявка на показ", "Обратный звонок", "Оценка квартиры")


@dataclass(slots=True)
class _Talk:
    """A call on its way to the table; ``first`` started its deal."""

    story: Story
    row: dict[str, Any]
    first: bool


def make_calls(world: World, stories: list[Story]) -> None:
    """First calls and requests of the deals, and calls in between."""
    _store_recordings(world)
    tracer = _Tracer()
    numbers = _numbers(stories)
    talks = _talks(world, stories, numbers, tracer)
    ids = world.insert(Call, [talk.row for talk in talks])
    appeals = [
        _call_appeal(talk, number, tracer)
        for talk, number in zip(talks, ids, strict=True)
        if talk.row["direction"] == "in"
    ]
    appeals += [
        _request(world, story, numbers, tracer)
        for story in stories
        if story.channel not in ("call", "manual")
    ]
    appeal_ids = world.insert(Appeal, appeals)
    _lines(world, talks, ids, dict(zip(appeal_ids, appeals, strict=True)))
    _spam(world)


def _talks(
    world: World, stories: list[Story], numbers: dict[int, str], tracer: _Tracer
) -> list[_Talk]:
    talks = []
    for story in stories:
        if story.channel == "call":
            row = _call_row(world, story, numbers, "in", story.born, missed=story.owner is None)
            talks.append(_Talk(story, row, first=True))
        for _ in range(world.rnd.choice((0, 0, 1, 1, 2)) if story.saved and story.owner else 0):
            moment = moment_within(world, story, 0.05, 20)
            if moment is not None:
                ways = ("out", "out", "in") if story.source.phone else ("out",)
                direction, missed = world.rnd.choice(ways), world.rnd.random() < 0.18
                row = _call_row(world, story, numbers, direction, moment, missed=missed)
                talks.append(_Talk(story, row, first=False))
    for talk in talks:
        talk.row["is_first"] = talk.first and not talk.story.is_repeat
        if talk.row["direction"] == "in":
            talk.row["source_id"] = tracer.of_call(talk.row["line_number"]).source_id
    return talks


class _Tracer:
    """Sources found as the product finds them."""

    def __init__(self) -> None:
        self._rules = sources.rules()

    def find(self, evidence: Evidence) -> Verdict:
        """The source and why."""
        return choose(evidence, self._rules.index, self._rules.undefined_id)

    def of_call(self, line: str) -> Verdict:
        """The source that owns the dialled line."""
        return self.find(Evidence(called_number=line, channel="call"))


def _store_recordings(world: World) -> None:
    for seconds in sounds.LENGTHS:
        data = sounds.recording(seconds, world.rnd)
        stored = files.store_bytes(data, "audio/wav", kind="recordings")
        world.remember(StoredFile, [stored.id])
        world.recordings.append((stored.id, seconds))


def _numbers(stories: list[Story]) -> dict[int, str]:
    query = select(ContactPhone.contact_id, ContactPhone.number).where(ContactPhone.position == 0)
    wanted = {story.contact for story in stories}
    return {row[0]: row[1] for row in db.session.execute(query) if row[0] in wanted}


def _call_row(
    world: World,
    story: Story,
    numbers: dict[int, str],
    direction: str,
    moment: dt.datetime,
    *,
    missed: bool,
) -> dict[str, Any]:
    file_id, seconds = world.rnd.choice(world.recordings)
    wait = world.rnd.randint(4, 25)
    talk = 0 if missed else seconds
    digits = phones.digits(numbers[story.contact]) or ""
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
        "line_number": phones.digits(story.source.phone) or world.line,
        "contact_id": story.contact,
        "deal_id": story.id,
        "employee_id": story.owner.id if story.owner and not lost else None,
        "source_id": story.source.id,
        "is_first": False,
        "started_at": moment,
        "answered_at": answered,
        "ended_at": moment + dt.timedelta(seconds=wait + talk),
        "duration_total": wait + talk,
        "talk": talk,
        **_called_back(world, moment + dt.timedelta(seconds=wait), lost=lost),
        "recording_state": RecordingState.NONE if missed else RecordingState.STORED,
        "recording_file_id": None if missed else file_id,
        "created_at": moment,
        "updated_at": moment,
    }


def _called_back(world: World, ended: dt.datetime, *, lost: bool) -> dict[str, Any]:
    """Most missed calls were called back, and most of those in time; a few still wait."""
    told: dict[str, Any] = dict.fromkeys(("callback_due_at", "called_back_at", "reached_at"))
    if not lost:
        return told
    told["callback_due_at"] = ended + dt.timedelta(minutes=15)
    back = ended + dt.timedelta(minutes=world.rnd.choice((2, 4, 7, 9, 12, 14, 26, 55)))
    if back > world.now or world.rnd.random() < 0.06:
        return told
    told["called_back_at"] = back
    if world.rnd.random() < 0.85:
        told["reached_at"] = back + dt.timedelta(seconds=20)
    return told


# --- appeals --------------------------------------------------------------------


def _call_appeal(talk: _Talk, call_id: int, tracer: _Tracer) -> dict[str, Any]:
    row = talk.row
    return {
        **_appeal(talk.story, "call", row["started_at"], f"+{row['client_number']}"),
        **_traced(tracer.of_call(row["line_number"])),
        "call_id": call_id,
        "created_deal": talk.first,
        "is_repeat": talk.story.is_repeat or not talk.first,
        "extra": _extra(f"+{row['client_number']}", row["line_number"]),
    }


def _request(
    world: World, story: Story, numbers: dict[int, str], tracer: _Tracer
) -> dict[str, Any]:
    number = numbers[story.contact]
    row = _appeal(story, story.channel, story.born, number)
    row |= {"comment": world.rnd.choice(words.REQUESTS), "extra": _extra(number, None)}
    if story.channel == "site_form":
        row |= _page(world, story)
    marks = tuple(row[name] or "" for name in ("utm_source", "utm_medium", "utm_campaign"))
    evidence = Evidence(
        utm=(marks[0], marks[1], marks[2], ""),
        page_url=row["page_url"] or "",
        channel=story.channel,
    )
    return row | _traced(tracer.find(evidence))


def _page(world: World, story: Story) -> dict[str, Any]:
    """What a form of the site tells: the page and the marks of the advertisement."""
    source, rnd = story.source, world.rnd
    path = rnd.choice(("flat", "house", "novostroyki", "services"))
    told: dict[str, Any] = {
        "intake_point_id": world.intake_id,
        "form_name": rnd.choice(_FORMS),
        "page_url": f"https://novy-adres.example.ru/{path}/{rnd.randint(1, 400)}",
    }
    if source.utm_source:
        told["utm_source"] = source.utm_source
        told["utm_medium"] = (source.utm_medium or "").replace("*", "referral")
        told["utm_campaign"] = source.utm_campaign or rnd.choice(_CAMPAIGNS)
    return told


def _traced(verdict: Verdict) -> dict[str, Any]:
    return {
        "source_id": verdict.source_id,
        "source_step": int(verdict.step),
        "source_why": verdict.explanation,
    }


def _extra(number: str, line: str | None) -> dict[str, Any]:
    """As the intake keeps it, so that an appeal can be traced and settled anew."""
    wishes = dict.fromkeys(("pipeline_id", "department_id", "responsible_id"))
    evidence: dict[str, Any] = dict.fromkeys(("explicit_source_id", "default_source_id"))
    return {
        "phones": [number],
        "wishes": wishes,
        "evidence": {**evidence, "called_number": line},
    }


def _appeal(story: Story, channel: str, moment: dt.datetime, number: str) -> dict[str, Any]:
    """Keys that every appeal has: bulk inserts want the same ones in each row."""
    owner = story.owner
    return {
        **_empty_appeal(channel, moment, number),
        "contact_id": story.contact,
        "deal_id": story.id,
        "department_id": owner.department_id if owner else None,
        "responsible_id": owner.id if owner else None,
        "created_deal": True,
        "is_repeat": story.is_repeat,
        "name": story.client.name if story.client and channel != "call" else None,
    }


def _empty_appeal(channel: str, moment: dt.datetime, number: str) -> dict[str, Any]:
    names = (
        "contact_id", "deal_id", "department_id", "responsible_id", "source_id", "call_id",
        "intake_point_id", "comment", "form_name", "page_url", "utm_source", "utm_medium",
        "utm_campaign", "source_why", "spam_reasons", "name",
    )  # fmt: skip
    return {
        **dict.fromkeys(names),
        "channel": channel,
        "received_at": moment,
        "phone": number,
        "source_step": 7,
        "created_deal": False,
        "is_repeat": False,
        "is_spam": False,
        "extra": {},
    }


def _spam(world: World) -> None:
    """A handful of requests in the folder «Спам»."""
    rows = []
    for _ in range(world.count(14)):
        moment = world.working_moment(world.rnd.uniform(0.2, 40))
        number = world.phone()
        text, reason = world.rnd.choice(words.SPAM)
        rows.append(
            {
                **_empty_appeal("site_form", moment, number),
                "intake_point_id": world.intake_id,
                "form_name": _FORMS[1],
                "comment": text,
                "is_spam": True,
                "spam_reasons": reason,
                "extra": _extra(number, None),
            }
        )
    undefined = sources.rules().undefined_id
    world.insert(Appeal, [{**row, "source_id": undefined} for row in rows])


# --- the feed -------------------------------------------------------------------


def _lines(
    world: World, talks: list[_Talk], call_ids: list[int], appeals: dict[int, dict[str, Any]]
) -> None:
    of_call = {row["call_id"]: number for number, row in appeals.items() if row["call_id"]}
    rows = [
        {
            **_line(EventKind.CALL, talk.story.id, talk.story.contact, talk.row["started_at"]),
            "call_id": number,
            "appeal_id": of_call.get(number),
        }
        for talk, number in zip(talks, call_ids, strict=True)
    ]
    rows += [
        {
            **_line(EventKind.REQUEST, row["deal_id"], row["contact_id"], row["received_at"]),
            "call_id": None,
            "appeal_id": number,
        }
        for number, row in appeals.items()
        if row["call_id"] is None
    ]
    world.insert(TimelineEvent, rows)


def _line(kind: EventKind, deal: int, contact: int, moment: dt.datetime) -> dict[str, Any]:
    return {
        "deal_id": deal,
        "contact_id": contact,
        "kind": kind,
        "occurred_at": moment,
        "data": {},
    }
