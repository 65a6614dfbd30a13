"""The demonstration agency: what it makes keeps every rule of the product, and it goes whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import AgencyInfo, OfferPhoto, Severity
from crm.models import (
    Appeal,
    Call,
    CallState,
    Comment,
    Company,
    Contact,
    ContactPhone,
    Deal,
    Employee,
    EventKind,
    Listing,
    Pipeline,
    RecordingState,
    SearchToken,
    Source,
    StageHistory,
    StageType,
    StoredFile,
    Task,
    TelephonyConnection,
    TimelineEvent,
    db,
)
from crm.models.demo import DemoManifest
from crm.operations import connections, demo, search_index, sources, stage_rules
from crm.operations.attribution import Evidence
from crm.operations.demo.stories import person_name
from crm.operations.demo.world import World, ranges
from crm.operations.errors import Conflict
from crm.operations.listing_offers import address_key, stored_offer
from crm.values import phones
from crm.values.clock import utc_now

SCALE = 0.05
NOON = dt.datetime(2026, 11, 24, 11, 0, tzinfo=dt.UTC)
# The suite's people hold some of the demo's logins.
TAKEN = ("admin", "director", "head", "manager", "teammate", "stranger", "marketer")


@pytest.fixture
def empty(app: Flask) -> Flask:
    """An installation as `crm init` leaves it, but for the suite's people, who step aside."""
    for person in db.session.scalars(select(Employee).where(Employee.username.in_(TAKEN))):
        person.username = f"suite-{person.username}"
    db.session.commit()
    return app


@pytest.fixture
def made(empty: Flask) -> Iterator[dict[str, int]]:
    """A small agency loaded at a known hour."""
    with time_machine.travel(NOON, tick=True):
        yield demo.load(SCALE)
    db.session.rollback()


def every(model: Any) -> list[Any]:
    return list(db.session.scalars(select(model).order_by(model.id)))


def by_deal(model: Any) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in every(model):
        found[row.deal_id].append(row)
    return found


def files_on_disk(app: Flask) -> set[Path]:
    root = Path(app.config["STORAGE_URL"].removeprefix("file://"))
    return {path for path in root.rglob("*") if path.is_file()}


# --- how much -----------------------------------------------------------------------------------


def test_the_counts_are_those_of_the_scale(made: dict[str, int]) -> None:
    assert made["deal"] == round(2230 * SCALE) + 1
    assert made["listing"] == round(324 * SCALE)
    assert made["ab_user"] == 12
    for table, count in made.items():
        assert count > 0, table
    for model in (Deal, Listing, Call, Appeal, Task, Comment, StageHistory, Contact):
        stored = db.session.scalar(select(func.count(model.id)))
        assert stored == made[model.__tablename__], model


def test_all_stages_of_the_buyers_that_are_worked_on_are_peopled(empty: Flask) -> None:
    with time_machine.travel(NOON):
        demo.load(0.5)
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    counted = Counter(db.session.scalars(select(Deal.stage_id)))
    for stage in pipeline.stages:
        assert counted[stage.id] > 0, stage.name
    open_deals = [deal for deal in every(Deal) if deal.closed_at is None]
    late = [deal for deal in open_deals if deal.next_task_due and deal.next_task_due < NOON]
    assert 0 < len(late) < len(open_deals) * 0.25


# --- deals --------------------------------------------------------------------------------------


def test_history_is_continuous_and_ends_where_the_deal_is(made: dict[str, int]) -> None:
    history = by_deal(StageHistory)
    for deal in every(Deal):
        moves = history[deal.id]
        assert moves[0].from_stage_id is None
        for before, after in itertools.pairwise(moves):
            assert after.from_stage_id == before.to_stage_id
            assert after.moved_at > before.moved_at
        assert moves[-1].to_stage_id == deal.stage_id
        assert moves[-1].moved_at == deal.stage_entered_at <= utc_now()
        assert moves[0].moved_at == deal.created_at
        assert {move.to_stage.pipeline_id for move in moves} == {deal.pipeline_id}


def test_mandatory_stages_and_required_fields_are_kept(made: dict[str, int]) -> None:
    for deal in every(Deal):
        assert stage_rules.mandatory_refusal(deal.stage, stage_rules.visited_stages(deal)) is None
        if deal.is_saved:
            missing = stage_rules.missing_fields(deal, deal.stage)
            assert missing == [], (deal.id, [field.code for field in missing])


def test_an_end_is_an_end(made: dict[str, int]) -> None:
    for deal in every(Deal):
        kind = deal.stage.kind
        assert (deal.closed_at is None) == kind.is_open
        assert (deal.loss_reason_id is not None) == (kind is StageType.REFUSAL)
        won = kind is StageType.SUCCESS
        assert (deal.won_amount, deal.won_on is not None) == (deal.amount if won else None, won)
        if won:
            assert deal.amount
            assert deal.commission == deal.amount * Decimal("0.03")
        if deal.closed_at is not None:
            assert deal.closed_at == deal.stage_entered_at
            assert deal.next_task_due is None


def test_the_next_task_is_the_nearest_undone_one(made: dict[str, int]) -> None:
    tasks = by_deal(Task)
    seen = 0
    for deal in every(Deal):
        undone = [task for task in tasks[deal.id] if task.done_at is None]
        nearest = min(undone, key=lambda task: (task.due_at, task.id), default=None)
        seen += nearest is not None
        assert deal.next_task_due == (nearest.due_at if nearest else None)
        assert deal.next_task_text == (nearest.text if nearest else None)
        if undone:
            assert deal.stage.tasks_allowed
            assert deal.closed_at is None
        for task in undone:
            assert task.status_id is None or task.status.stage_id == deal.stage_id
    assert seen > 0


def test_nothing_happens_before_the_birth_or_after_the_end(made: dict[str, int]) -> None:
    ends = {deal.id: deal.closed_at or utc_now() for deal in every(Deal)}
    births = {deal.id: deal.created_at for deal in every(Deal)}
    moments = [(t.deal_id, t.done_at) for t in every(Task) if t.done_at]
    moments += [(c.deal_id, c.created_at) for c in every(Comment)]
    moments += [(c.deal_id, c.started_at) for c in every(Call)]
    moments += [(e.deal_id, e.occurred_at) for e in every(TimelineEvent) if e.deal_id]
    for deal_id, moment in moments:
        assert births[deal_id] <= moment <= ends[deal_id]


def test_the_last_activity_is_the_newest_line_of_the_feed(made: dict[str, int]) -> None:
    lines = by_deal(TimelineEvent)
    for deal in every(Deal):
        assert deal.last_activity_at == max(line.occurred_at for line in lines[deal.id])


def test_unprocessed_deals_exist_and_are_fresh(made: dict[str, int]) -> None:
    waiting = [deal for deal in every(Deal) if not deal.is_saved]
    assert waiting
    for deal in every(Deal):
        assert (deal.processed_at is None) == (not deal.is_saved)
    for deal in waiting:
        assert utc_now() - deal.created_at < dt.timedelta(hours=4)
        assert deal.stage_id == deal.pipeline.stages[0].id


def test_amounts_are_believable(made: dict[str, int]) -> None:
    amounts = sorted(deal.amount for deal in every(Deal) if deal.amount is not None)
    assert amounts
    assert Decimal(900_000) <= amounts[0]
    assert amounts[-1] <= Decimal(70_000_000)
    assert Decimal(7_000_000) < amounts[len(amounts) // 2] < Decimal(15_000_000)


def test_people_work_by_day_and_not_on_sundays(made: dict[str, int]) -> None:
    zone = World().zone
    moments = [move.moved_at for move in every(StageHistory) if move.from_stage_id]
    moments += [comment.created_at for comment in every(Comment)]
    for moment in moments:
        assert 9 <= moment.astimezone(zone).hour < 20
    born = [deal.created_at.astimezone(zone) for deal in every(Deal) if deal.is_saved]
    assert 6 not in {moment.weekday() for moment in born}


def test_one_client_has_one_open_deal(made: dict[str, int]) -> None:
    counted = Counter(deal.contact_id for deal in every(Deal) if deal.closed_at is None)
    assert max(counted.values()) == 1


# --- clients ------------------------------------------------------------------------------------


def test_numbers_have_right_keys_and_belong_to_one(made: dict[str, int]) -> None:
    numbers = every(ContactPhone)
    assert len({row.key for row in numbers}) == len(numbers)
    for row in numbers:
        assert row.number == phones.e164(row.number)
        assert row.key == phones.match_key(row.number)
        assert row.key_reversed == row.key[::-1]
    assert {row.contact_id for row in numbers} == {contact.id for contact in every(Contact)}


def test_the_search_index_is_what_a_rebuild_would_make(made: dict[str, int]) -> None:
    def words() -> set[tuple[str, str, int]]:
        rows = db.session.execute(
            select(SearchToken.kind, SearchToken.token, SearchToken.object_id)
        )
        return {(row[0], row[1], row[2]) for row in rows}

    before = words()
    search_index.reindex_all()
    assert before == words()
    assert before


def test_names_agree_with_their_sex(app: Flask) -> None:
    from crm.operations.demo import words

    world = World()
    for _ in range(300):
        first, _, last = person_name(world).partition(" ")
        if "«" not in last:
            assert (first in words.WOMEN) == last.endswith("а")
            assert (first in words.WOMEN) != (first in words.MEN)


# --- calls and appeals --------------------------------------------------------------------------


def test_calls_hold_together(made: dict[str, int]) -> None:
    for call in every(Call):
        assert call.client_key == phones.match_key(call.client_number)
        assert call.contact_id == db.session.get(Deal, call.deal_id).contact_id
        assert (call.answered_at is not None) == bool(call.talk) == (call.result == "answered")
        assert (call.state == CallState.MISSED) == (call.direction == "in" and not call.talk)
        assert (call.recording_state == RecordingState.STORED) == bool(call.recording_file_id)
        assert call.duration_total == (call.ended_at - call.started_at).total_seconds()


def test_appeals_are_traced_as_the_product_traces_them(made: dict[str, int]) -> None:
    for appeal in every(Appeal):
        told = Evidence(
            called_number=appeal.extra["evidence"]["called_number"],
            utm=(appeal.utm_source or "", appeal.utm_medium or "", appeal.utm_campaign or "", ""),
            page_url=appeal.page_url or "",
            channel=appeal.channel,
        )
        if appeal.is_spam:
            assert (appeal.deal_id, appeal.contact_id) == (None, None)
            continue
        verdict = sources.attribute(told)
        assert (appeal.source_id, appeal.source_step) == (verdict.source_id, int(verdict.step))
        assert appeal.source_why == verdict.explanation
        if appeal.created_deal:
            assert appeal.source_id == db.session.get(Deal, appeal.deal_id).source_id


def test_every_deal_but_handmade_ones_has_its_appeal(made: dict[str, int]) -> None:
    started = {appeal.deal_id for appeal in every(Appeal) if appeal.created_deal}
    for deal in every(Deal):
        assert (deal.id in started) == (deal.channel != "manual")
    incoming = {call.id for call in every(Call) if call.direction == "in"}
    assert {appeal.call_id for appeal in every(Appeal) if appeal.call_id} == incoming


def test_every_call_and_request_stands_in_the_feed(made: dict[str, int]) -> None:
    kinds = (EventKind.CALL, EventKind.REQUEST)
    lines = [line for line in every(TimelineEvent) if line.kind in kinds]
    assert {line.call_id for line in lines if line.call_id} == {call.id for call in every(Call)}
    settled = {appeal.id for appeal in every(Appeal) if not appeal.is_spam}
    assert {line.appeal_id for line in lines if line.appeal_id} == settled


def test_the_telephony_of_the_demo_can_sign(made: dict[str, int]) -> None:
    connection = every(TelephonyConnection)[0]
    assert connections.build(connection).missing_credentials() == []


def test_sources_may_be_saved_as_they_are(made: dict[str, int]) -> None:
    from crm.operations.attribution import validate_unique

    assert validate_unique([sources.rule_of(source) for source in every(Source)]) == []


# --- listings -----------------------------------------------------------------------------------


def test_most_active_listings_are_fit_for_yandex_and_a_few_are_not(empty: Flask) -> None:
    with time_machine.travel(NOON):
        demo.load(0.5)
    portal, agency = (
        registry.get("yandex"),
        AgencyInfo("Новый адрес", "1027800000000", "+78120001106"),
    )
    active = [listing for listing in every(Listing) if listing.state == "active"]
    refused = sum(_is_refused(portal, listing, agency) for listing in active)
    assert 0 < refused <= len(active) * 0.15


def _is_refused(portal: Any, listing: Listing, agency: AgencyInfo) -> bool:
    photos = [
        OfferPhoto(f"https://example.ru/{photo.id}.jpg", v.PhotoKind.of(photo.kind))
        for photo in listing.photos
    ]
    offer = stored_offer(listing, photos)
    offer.created_at = offer.created_at or listing.created_at
    return any(r.severity is Severity.REFUSE for r in portal.check(offer, agency))


def test_listings_can_be_read_and_found(made: dict[str, int]) -> None:
    for listing in every(Listing):
        offer = stored_offer(listing)
        assert listing.address_key == address_key(listing.locality, listing.address)
        assert offer.description
        assert listing.owner.is_owner
        assert listing.owner.created_at <= listing.created_at
        if offer.floor and offer.floors_total:
            assert offer.floor <= offer.floors_total
        if offer.area_living and offer.area_kitchen and offer.area_total:
            assert offer.area_living + offer.area_kitchen <= offer.area_total


# --- again, elsewhere, away ---------------------------------------------------------------------


def test_a_second_load_does_nothing(made: dict[str, int]) -> None:
    assert demo.load(SCALE) == {}
    assert len(every(Deal)) == made["deal"]
    assert len(every(DemoManifest)) == 1


def test_a_base_where_people_work_is_left_alone(app: Flask, make: Any) -> None:
    deal = make.deal()
    with pytest.raises(Conflict, match="уже есть сделки"):
        demo.load(SCALE)
    assert [found.id for found in every(Deal)] == [deal.id]
    assert every(DemoManifest) == []


def test_the_same_hour_gives_the_same_agency(empty: Flask) -> None:
    with time_machine.travel(NOON, tick=False):
        demo.load(SCALE)
        first = _digest()
        demo.remove()
        # SQLite gives the ids of deleted rows again.
        db.session.remove()
        demo.load(SCALE)
        assert _digest() == first


def _digest() -> str:
    """What the agency says, without ids."""
    told = [
        (d.contact.name, d.stage.name, str(d.amount), d.created_at.isoformat(), d.source.name)
        for d in every(Deal)
    ]
    told += [(row.number,) for row in every(ContactPhone)]
    told += [(row.text, row.due_at.isoformat()) for row in every(Task)]
    told += [(row.address, str(row.price), str(row.attributes)) for row in every(Listing)]
    told += [(row.provider_call_id, row.line_number) for row in every(Call)]
    told += [(row.source_why, row.comment) for row in every(Appeal)]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def test_removal_leaves_what_was_before(empty: Flask) -> None:
    company = db.session.scalars(select(Company)).one()
    name, before = company.name, files_on_disk(empty)
    counts = {t.name: _count(t) for t in db.metadata.sorted_tables}
    made = demo.load(SCALE)
    assert company.name != name
    assert files_on_disk(empty) > before
    removed, kept = demo.remove()
    assert removed == made
    assert kept == {}
    assert {t.name: _count(t) for t in db.metadata.sorted_tables} == counts
    assert db.session.scalars(select(Company)).one().name == name
    assert files_on_disk(empty) == before
    assert demo.logins() == []


def _count(table: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(table)) or 0)


def test_removal_keeps_a_handmade_deal_and_its_demo_client(made: dict[str, int]) -> None:
    client = db.session.get(Deal, every(Deal)[0].id).contact
    client_id, number = client.id, client.phones[0].number
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    own = db.session.scalars(select(Employee).where(Employee.username == "suite-manager")).one()
    mine = Deal(
        pipeline_id=pipeline.id,
        stage_id=pipeline.stages[0].id,
        contact_id=client_id,
        responsible_id=own.id,
    )
    db.session.add(mine)
    db.session.commit()
    _removed, kept = demo.remove()
    db.session.expire_all()
    assert [deal.id for deal in every(Deal)] == [mine.id]
    assert kept["contact"] == 1
    (left,) = every(Contact)
    assert left.id == client_id
    assert [row.number for row in left.phones] == [number]
    assert not any(person.active for person in every(Employee) if person.is_demo)
    assert demo.logins() == []


def test_a_demo_deal_that_people_work_with_stays_whole(made: dict[str, int]) -> None:
    deal = next(d for d in every(Deal) if len(by_deal(StageHistory)[d.id]) > 1)
    moves = [move.id for move in by_deal(StageHistory)[deal.id]]
    talk = Appeal(channel="email", deal_id=deal.id, contact_id=deal.contact_id)
    db.session.add(talk)
    db.session.commit()
    kept_id, contact_id = deal.id, deal.contact_id
    _removed, kept = demo.remove()
    db.session.expire_all()
    assert [left.id for left in every(Deal)] == [kept_id]
    assert [move.id for move in every(StageHistory)] == moves
    assert [left.id for left in every(Contact)] == [contact_id]
    assert kept["stage_history"] == len(moves)
    assert demo.logins() == []


def test_a_note_of_people_on_a_demo_deal_goes_with_it(made: dict[str, int]) -> None:
    deal = every(Deal)[0]
    db.session.add(Comment(deal_id=deal.id, author_id=deal.responsible_id, text="Перезвонить"))
    db.session.commit()
    _removed, kept = demo.remove()
    assert kept == {}
    assert every(Comment) == []


def test_a_demo_listing_that_people_offer_keeps_its_pictures(made: dict[str, int]) -> None:
    listing = next(found for found in every(Listing) if found.photos)
    listing_id, files = listing.id, {photo.large_id for photo in listing.photos}
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    stage = pipeline.stages[0]
    db.session.add(Deal(pipeline_id=pipeline.id, stage_id=stage.id, listing_id=listing_id))
    db.session.commit()
    demo.remove()
    db.session.expire_all()
    (left,) = every(Listing)
    assert left.id == listing_id
    assert {photo.large_id for photo in left.photos} == files
    assert files <= {stored.id for stored in every(StoredFile)}


def test_removal_of_nothing_is_nothing(empty: Flask) -> None:
    assert demo.remove() == ({}, {})


def test_the_logins_are_those_of_the_people(made: dict[str, int]) -> None:
    people = demo.logins()
    assert len(people) == made["ab_user"]
    assert {"login": "director", "name": "Ирина Ковалёва", "role": "Директор"}.items() <= next(
        person for person in people if person["login"] == "director"
    ).items()


def test_files_of_the_demo_are_on_the_disk(made: dict[str, int], empty: Flask) -> None:
    root = Path(empty.config["STORAGE_URL"].removeprefix("file://"))
    for stored in every(StoredFile):
        assert (root / stored.key).stat().st_size == stored.size


@pytest.mark.parametrize(
    ("ids", "packed"),
    [([], []), ([3, 1, 2, 2], [[1, 3]]), ([1, 3, 4], [[1, 1], [3, 4]])],
)
def test_ids_are_packed_into_ranges(ids: list[int], packed: list[list[int]]) -> None:
    assert ranges(ids) == packed
