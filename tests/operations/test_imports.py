"""Foreign feeds: every offer accounted for, no doubles, nothing archived by accident."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from crm.integrations.portals.base import OfferPhoto
from crm.models import (
    FeedRun,
    Listing,
    ListingPhoto,
    ListingState,
    PriceChange,
    RunState,
    SearchToken,
    TimelineEvent,
    db,
)
from crm.operations import import_batch, imports, listing_offers, publishing
from crm.operations.errors import Conflict, Forbidden, ValidationErrors
from crm.security.principal import Principal
from tests.integrations.fake_http import Answer, serving
from tests.integrations.portals.test_yandex_roundtrip import FILES
from tests.operations import feed_ground as ground

pytestmark = pytest.mark.usefixtures("app")
DAY = dt.timedelta(hours=25)


def count(model: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(model)) or 0)


def listing(internal_id: str) -> Listing:
    query = select(Listing).where(Listing.internal_id == internal_id)
    found: Listing = db.session.scalars(query.execution_options(populate_existing=True)).one()
    return found


def counts(run: FeedRun) -> tuple[int, int, int, int]:
    return run.created, run.updated, run.unchanged, run.refused


@pytest.mark.parametrize("name", sorted(FILES))
def test_real_files_are_taken_whole_and_only_once(samples: Path, name: str) -> None:
    content = (samples / "feeds" / "yandex" / name).read_bytes()
    good, refused = FILES[name]
    target = ground.source()

    first = ground.run(target, content)

    assert first.state == RunState.DONE, first.error
    assert counts(first) == (good, 0, 0, refused)
    assert [item.position for item in ground.items(first.id)] == [*range(1, good + refused + 1)]
    assert all(item.reasons for item in ground.items(first.id, "refused"))
    assert count(Listing) == good
    photos = count(ListingPhoto)

    second = ground.run(target, content)

    assert counts(second) == (0, 0, good, refused)
    assert (count(Listing), count(ListingPhoto)) == (good, photos)


def test_an_offer_comes_with_its_photos_words_and_a_line_in_the_feed() -> None:
    target = ground.source()
    [offer] = ground.flats(1)

    ground.run(target, [offer])

    stored = listing("A-0")
    assert (stored.public_id, stored.state) == ("A-0", ListingState.ACTIVE)
    assert (stored.price, stored.rooms, stored.floor) == (Decimal(12_500_000), 2, 5)
    assert stored.published_from is not None
    assert [photo.source_url for photo in stored.photos] == [photo.url for photo in offer.photos]
    assert {photo.state for photo in stored.photos} == {"waiting"}
    words = db.session.scalars(select(SearchToken.token).where(SearchToken.object_id == stored.id))
    assert {"липовая", "аллея"} <= set(words)
    kinds = db.session.scalars(
        select(TimelineEvent.kind).where(TimelineEvent.listing_id == stored.id)
    )
    assert list(kinds) == ["imported"]


def test_a_changed_price_is_written_with_its_history() -> None:
    target = ground.source()
    first, second = ground.flats(2)
    ground.run(target, [first, second])

    done = ground.run(target, [replace(first, price=Decimal("11900000")), second])

    assert counts(done) == (0, 1, 1, 0)
    changed = listing("A-0")
    assert (changed.price, changed.version) == (Decimal(11_900_000), 2)
    [row] = db.session.scalars(select(PriceChange))
    assert (row.listing_id, row.old_price, row.new_price, row.by_import) == (
        changed.id,
        Decimal(12_500_000),
        Decimal(11_900_000),
        True,
    )


def test_the_feed_wins_but_for_the_state_and_the_people(people: dict[str, Any]) -> None:
    target = ground.source(responsible_id=people["manager"].id)
    [offer] = ground.flats(1)
    ground.run(target, [offer])
    mine = listing("A-0")
    mine.state, mine.responsible_id = ListingState.DEPOSIT, people["head"].id
    mine.rooms = 4
    db.session.commit()

    ground.run(target, [offer])
    assert listing("A-0").rooms == 4  # an unchanged offer is not written again

    ground.run(target, [replace(offer, rooms=3)])
    stored = listing("A-0")
    assert stored.rooms == 3
    assert (stored.state, stored.responsible_id) == (ListingState.DEPOSIT, people["head"].id)


def test_a_repeated_import_keeps_stored_photos_in_the_order_of_the_feed() -> None:
    target = ground.source()
    [offer] = ground.flats(1)
    ground.run(target, [offer])
    first, second, _third = listing("A-0").photos
    second.state = "stored"
    own = ListingPhoto(listing_id=first.listing_id, position=9, state="stored")
    db.session.add(own)
    db.session.commit()
    kept, gone = second.id, first.id
    new = OfferPhoto("https://img.example.ru/new.jpg")

    ground.run(target, [replace(offer, photos=[offer.photos[1], new, offer.photos[2]])])

    db.session.expire_all()
    photos = listing("A-0").photos
    assert [photo.source_url for photo in photos] == [
        offer.photos[1].url,
        new.url,
        offer.photos[2].url,
        None,
    ]
    assert (photos[0].id, photos[0].state) == (kept, "stored")
    assert photos[1].state == "waiting"
    assert gone not in {photo.id for photo in photos}


def test_the_same_number_in_another_feed_is_another_listing() -> None:
    [offer] = ground.flats(1)
    ground.run(ground.source("Первый"), [offer])
    ground.run(ground.source("Второй"), [offer])

    assert count(Listing) == 2
    assert len(set(db.session.scalars(select(Listing.public_id)))) == 2


def test_a_dry_run_writes_only_its_report() -> None:
    target = ground.source()
    first, second = ground.flats(2)
    ground.run(target, [first])
    before = {model: count(model) for model in (Listing, ListingPhoto, SearchToken, TimelineEvent)}

    done = ground.run(target, [replace(first, rooms=4), second], dry_run=True)

    assert counts(done) == (1, 1, 0, 0)
    assert [item.outcome for item in ground.items(done.id)] == ["updated", "created"]
    assert {model: count(model) for model in before} == before
    assert listing("A-0").rooms == 2


# --- what vanishes ----------------------------------------------------------------------------


def test_a_vanished_offer_goes_to_the_archive_after_two_runs_and_a_day() -> None:
    target, offers = ground.source(), ground.flats(10)
    start = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
    with time_machine.travel(start, tick=False) as clock:
        ground.run(target, offers)
        ground.run(target, offers[:-1])
        assert listing("A-9").missing_since == start
        clock.move_to(start + dt.timedelta(hours=1))
        ground.run(target, offers[:-1])
        assert listing("A-9").state == ListingState.ACTIVE
        clock.move_to(start + DAY)
        ground.run(target, offers[:-1])
        assert listing("A-9").state == ListingState.ARCHIVE
        clock.move_to(start + 2 * DAY)
        ground.run(target, offers)
    back = listing("A-9")
    assert (back.state, back.missing_since) == (ListingState.ACTIVE, None)


def test_a_day_without_a_second_run_archives_nothing() -> None:
    target, offers = ground.source(), ground.flats(10)
    start = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
    with time_machine.travel(start, tick=False) as clock:
        ground.run(target, offers)
        clock.move_to(start + DAY)
        ground.run(target, offers[:-1])
    assert listing("A-9").state == ListingState.ACTIVE


def test_many_vanished_at_once_ask_a_person(principal: Callable[[str], Principal]) -> None:
    target, offers = ground.source(), ground.flats(10)
    ground.run(target, offers)

    held = ground.run(target, offers[:7])

    assert (held.state, held.unchanged) == (RunState.HELD, 7)
    assert "3 из 10" in (held.error or "")
    assert listing("A-9").missing_since is None
    with pytest.raises(Forbidden):
        imports.confirm_import(held.id, principal("manager"))
    imports.confirm_import(held.id, ground.with_page(principal("marketer"), "Imports"))
    assert listing("A-9").missing_since is not None
    with pytest.raises(Conflict):
        imports.confirm_import(held.id, ground.with_page(principal("marketer"), "Imports"))


def test_a_person_may_say_that_the_file_was_not_whole(
    principal: Callable[[str], Principal],
) -> None:
    target, offers = ground.source(), ground.flats(10)
    ground.run(target, offers)
    held = ground.run(target, offers[:2])
    imports.dismiss_import(held.id, ground.with_page(principal("marketer"), "Imports"))
    assert listing("A-9").missing_since is None
    assert imports.find_run(held.id).state == RunState.DONE


def test_a_cut_file_keeps_what_was_read_and_archives_nothing() -> None:
    target, offers = ground.source(), ground.flats(10)
    ground.run(target, offers)
    content = ground.written([replace(offer, rooms=5) for offer in offers])
    end = content.index(b'internal-id="A-5"')

    broken = ground.run(target, content[:end])

    assert broken.state == RunState.FAILED
    assert "обрывается" in (broken.error or "")
    assert (broken.updated, broken.total) == (5, 5)
    assert listing("A-0").rooms == 5
    assert listing("A-9").missing_since is None


# --- accidents --------------------------------------------------------------------------------


def test_a_crash_in_the_middle_leaves_a_failed_run_that_can_be_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imports, "BATCH", 4)
    write, calls = import_batch.write, []

    def breaking(*args: Any, **kwargs: Any) -> bool:
        calls.append(1)
        done = write(*args, **kwargs)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return done

    monkeypatch.setattr(import_batch, "write", breaking)
    started = imports.start_import(ground.source(), ground.written(ground.flats(10)), enqueue=False)
    with pytest.raises(RuntimeError):
        imports.run_import(started.id)

    failed = imports.find_run(started.id)
    assert (failed.state, failed.total, failed.created) == (RunState.FAILED, 4, 4)
    assert "RuntimeError" in (failed.error or "")
    assert count(Listing) == 4

    again = imports.run_import(started.id)

    assert (again.state, again.created, again.unchanged) == (RunState.DONE, 6, 4)
    assert count(Listing) == 10
    assert len(ground.items(again.id)) == 10


def test_one_import_of_a_feed_at_a_time() -> None:
    target, content = ground.source(), ground.written(ground.flats(1))
    started = imports.start_import(target, content, enqueue=False)
    with pytest.raises(Conflict):
        imports.start_import(target, content, enqueue=False)
    imports.run_import(started.id)
    with pytest.raises(Conflict):
        imports.run_import(started.id)


def test_an_import_whose_process_died_does_not_block_the_next() -> None:
    target, content = ground.source(), ground.written(ground.flats(1))
    started = imports.start_import(target, content, enqueue=False)
    started.state = RunState.RUNNING
    started.started_at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    db.session.commit()
    imports.start_import(target, content, enqueue=False)
    assert imports.find_run(started.id).state == RunState.FAILED


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;">]><realty-feed><offer internal-id="1">&b;</offer></realty-feed>"""


def zipped(content: bytes, names: tuple[str, ...] = ("feed.xml",)) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "пуст"),
        (b"\x00\x01garbage", ""),
        (b"<html><body>404</body></html>", "html"),
        (b"<Ads></Ads>", "Авито"),
        (BOMB, "DTD"),
        (b"\x1f\x8bgarbage", "Архив"),
        (zipped(b"<x/>", ("a.xml", "b.xml")), "ровно один"),
    ],
)
def test_what_is_no_feed_is_refused_in_words(content: bytes, words: str) -> None:
    failed = ground.run(ground.source(), content)
    assert failed.state == RunState.FAILED
    assert words in (failed.error or "")
    assert count(Listing) == 0


def test_packed_files_are_read() -> None:
    content = ground.written(ground.flats(3))
    target = ground.source()
    assert ground.run(target, gzip.compress(content)).created == 3
    assert ground.run(target, zipped(content)).unchanged == 3


def test_an_archive_that_grows_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from crm.integrations.portals import feed_file

    monkeypatch.setattr(feed_file.open_feed.__wrapped__, "__defaults__", (1_000_000,))
    head = b"<realty-feed>" + b" " * 3_000_000
    failed = ground.run(ground.source(), gzip.compress(head))
    assert failed.state == RunState.FAILED
    assert "слишком большой" in (failed.error or "")


def test_a_file_over_the_limit_is_refused_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ValidationErrors):
        imports.start_import(ground.source(), b"x" * 1001, enqueue=False)
    assert count(FeedRun) == 0


# --- by address -------------------------------------------------------------------------------


def test_a_feed_is_fetched_by_its_address() -> None:
    content = ground.written(ground.flats(2))
    target = ground.source()
    with serving(lambda asked: Answer(body=content)) as site:
        started = imports.start_import(target, f"{site}/feed.xml?key=secret", enqueue=False)
        done = imports.run_import(started.id)
    assert (done.state, done.created) == (RunState.DONE, 2)
    assert done.file is not None


def test_an_answer_that_is_no_file_fails_without_the_secret_address() -> None:
    with serving(lambda asked: Answer(404)) as site:
        started = imports.start_import(
            ground.source(), f"{site}/feed.xml?key=secret", enqueue=False
        )
        failed = imports.run_import(started.id)
    assert failed.state == RunState.FAILED
    assert "404" in (failed.error or "")
    assert "secret" not in (failed.error or "")


def test_our_own_network_is_not_visited(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "OUTBOUND_ALLOW_PRIVATE", [])
    asked: list[Any] = []
    with serving(lambda request: asked.append(request) or Answer()) as site:
        started = imports.start_import(ground.source(), site, enqueue=False)
        failed = imports.run_import(started.id)
    assert failed.state == RunState.FAILED
    assert "внутреннюю сеть" in (failed.error or "")
    assert asked == []


@pytest.mark.parametrize("address", ["", "ftp://x.ru/a", "file:///etc/passwd"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValidationErrors):
        imports.start_import(ground.source(), address, enqueue=False)


def test_who_may_not_import_is_refused(principal: Callable[[str], Principal]) -> None:
    content = ground.written(ground.flats(1))
    with pytest.raises(Forbidden):
        imports.start_import(ground.source(), content, by=principal("manager"))
    marketer = ground.with_page(principal("marketer"), "Imports")
    assert imports.start_import(ground.source("Ещё"), content, by=marketer)


# --- size -------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_file() -> None:
    ground.company()
    few, many = (ground.written(ground.flats(n, photos=[])) for n in (1_000, 20_000))
    small = _peaks(ground.source("Малый"), few)
    large = _peaks(ground.source("Большой"), many)
    # The reader remembers every number to tell repeats: about a hundred bytes each.
    assert large[0] < small[0] + 12_000_000
    assert large[1] < small[1] + 5_000_000


def _peaks(target: Any, content: bytes) -> tuple[int, int]:
    """Bytes of an import and of a build over everything imported so far."""
    started = imports.start_import(target, content, enqueue=False)
    taken, done = _traced(lambda: imports.run_import(started.id))
    feed = ground.feed(target.name)
    written, run = _traced(lambda: publishing.build_feed(feed.id))
    assert (done.state, run.state) == (RunState.DONE, RunState.DONE)
    assert run.created >= done.created > 0
    return taken, written


def _traced(work: Callable[[], FeedRun]) -> tuple[int, FeedRun]:
    tracemalloc.start()
    try:
        run = work()
        return tracemalloc.get_traced_memory()[1], run
    finally:
        tracemalloc.stop()


def test_a_batch_costs_the_same_queries_whatever_its_size(count_queries: Any) -> None:
    spent = []
    for number, size in enumerate((10, 400)):
        target = ground.source(f"Источник {number}")
        started = imports.start_import(target, ground.written(ground.flats(size)), enqueue=False)
        with count_queries() as queries:
            imports.run_import(started.id)
        spent.append(len(queries))
    assert spent[1] <= spent[0] + 2


def test_the_digest_tells_offers_apart() -> None:
    one, other = ground.flats(2)
    same = ground.flats(1)[0]
    assert listing_offers.fingerprint(one)[1] == listing_offers.fingerprint(same)[1]
    assert listing_offers.fingerprint(one)[1] != listing_offers.fingerprint(other)[1]
