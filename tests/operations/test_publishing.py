"""Feeds built from the database: what goes in, what never leaves, and what never breaks."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from lxml import etree
from sqlalchemy import select, text

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import Offer, OfferRead
from crm.models import Feed, FeedRun, Listing, ListingState, RunState, StoredFile, db
from crm.operations import feed_offers, feeds, files, listings, publishing, records
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.listing_offers import stored_offer
from crm.security.principal import Principal
from tests.integrations.portals.offers import differences
from tests.operations import feed_ground as ground

pytestmark = pytest.mark.usefixtures("app")
Who = Callable[[str], Principal]
PORTAL = registry.get("yandex")
CONTACTS = {
    "phones", "contact_name", "contact_email", "agency_name", "agency_url", "agency_logo",
    "owner_role",
}  # fmt: skip


@pytest.fixture
def feed() -> Feed:
    """A feed of an agency with three flats in the database."""
    ground.company()
    ground.run(ground.source(), ground.flats(3))
    return ground.feed()


def content(feed: Feed) -> bytes:
    fresh = publishing.by_token(feed.token)
    assert fresh is not None
    assert fresh.file is not None
    assert fresh.gzip_file is not None
    plain = files.read_bytes(fresh.file)
    assert gzip.decompress(files.read_bytes(fresh.gzip_file)) == plain
    return plain


def published(feed: Feed) -> list[Offer]:
    results = list(PORTAL.read(io.BytesIO(content(feed))))
    return [result.offer for result in results if isinstance(result, OfferRead)]


def listing(internal_id: str) -> Listing:
    return db.session.scalars(select(Listing).where(Listing.internal_id == internal_id)).one()


def test_active_listings_are_published_in_their_order(feed: Feed) -> None:
    run = publishing.build_feed(feed.id)
    assert (run.state, run.total, run.created, run.refused) == (RunState.DONE, 3, 3, 0), run.error
    assert [offer.public_id for offer in published(feed)] == ["A-0", "A-1", "A-2"]


def test_real_files_come_back_equal_and_fit_the_schema(samples: Path) -> None:
    ground.company(name="", ogrn_name="x")
    ground.company(name="АН «Причал»")
    folder = samples / "feeds" / "yandex"
    schema = etree.XMLSchema(etree.parse(str(folder / "yrl_schema-2017.xsd")))
    for name in ("spb-flats-rooms-houses-2015.xml", "yrl-seven-kinds-example.xml"):
        target = ground.source(name)
        ground.run(target, (folder / name).read_bytes())
    feed = ground.feed()
    run = publishing.build_feed(feed.id)
    assert run.state == RunState.DONE, run.error
    assert run.created > 200
    plain = content(feed)
    schema.assertValid(etree.fromstring(plain))

    before = {o.public_id: o for o in _stored()}
    again = ground.source("Обратно")
    done = ground.run(again, plain)
    assert (done.created, done.refused) == (run.created, 0)
    query = select(Listing).where(Listing.import_feed_id == again.id)
    agency = feed_offers.terms(feed, publishing.company_of()).agency
    checked = 0
    for came in db.session.scalars(query):
        first = before[came.internal_id or ""]
        kept = PORTAL.carried(first, agency)
        ours = replace(stored_offer(came), public_id=kept.public_id, photos=kept.photos)
        lost = set(differences(ours, kept)) - CONTACTS
        if first.cadastral_number:
            lost -= {"flat_number"}
        if first.created_at is None:
            lost -= {"created_at"}
        assert lost == set(), differences(ours, kept)
        checked += 1
    assert checked == run.created


def _stored() -> list[Offer]:
    return [stored_offer(row) for row in db.session.scalars(select(Listing))]


def test_photos_go_out_in_their_order(feed: Feed) -> None:
    publishing.build_feed(feed.id)
    [first, *_] = published(feed)
    assert [photo.url for photo in first.photos] == [
        f"https://img.example.ru/{number}.jpg" for number in range(3)
    ]


# --- what never leaves ------------------------------------------------------------------------


def test_the_phone_is_the_tracking_one_then_the_company_s_then_the_person_s(
    feed: Feed, people: dict[str, Any]
) -> None:
    person = people["manager"]
    person.phone = "+79121110003"
    listing("A-0").responsible_id = person.id
    db.session.commit()

    def shown(**values: Any) -> list[str]:
        feed.phone = values.get("tracking")
        company = ground.company(phone=values.get("common"))
        return feed_offers.to_offer(listing("A-0"), company, feed).phones

    assert shown(tracking="+78120000001", common="+78120000002") == ["+78120000001"]
    assert shown(common="+78120000002") == ["+78120000002"]
    assert shown() == ["+79121110003"]
    db.session.expire_all()
    publishing.build_feed(feed.id)
    run = db.session.scalars(select(FeedRun).where(FeedRun.feed_id == feed.id)).one()
    assert run.created == 1  # the others have nobody to call


def test_the_former_seller_s_contacts_stay_with_us(feed: Feed) -> None:
    offer = ground.flats(
        1,
        phones=["+79990000007"],
        contact_name="Собственник Пётр",
        contact_email="owner@example.ru",
        agency_name="Чужое агентство",
        owner_role=v.OwnerRole.OWNER,
        extra={"secret": ["x"]},
    )[0]
    ground.run(ground.source("Чужой"), [replace(offer, public_id="Z-1")])
    publishing.build_feed(feed.id)
    plain = content(feed).decode()
    for private in ("9990000007", "Пётр", "owner@example.ru", "Чужое", "владелец", "secret"):
        assert private not in plain
    assert ground.PHONE in plain


def test_the_flat_number_leaves_only_where_it_is_demanded(feed: Feed) -> None:
    offers = ground.flats(2)
    offers[0].flat_number, offers[1].flat_number = "141", "142"
    offers[1].cadastral_number = None
    numbered = [replace(o, public_id=f"F-{n}") for n, o in enumerate(offers)]
    ground.run(ground.source("С номерами"), numbered)
    company = publishing.company_of()
    exported = [
        feed_offers.to_offer(listing(name), company, feed).flat_number for name in ("F-0", "F-1")
    ]
    assert exported == [None, "142"]
    feed.portal = "другой"
    assert feed_offers.to_offer(listing("F-1"), company, feed).flat_number is None
    db.session.rollback()


# --- what goes in -----------------------------------------------------------------------------


def test_states_and_filters_choose_the_listings(feed: Feed) -> None:
    listing("A-0").state = ListingState.DEPOSIT
    listing("A-1").state = ListingState.DRAFT
    listing("A-2").price = Decimal(900)
    db.session.commit()

    def ids(**values: Any) -> list[str]:
        made = ground.feed(f"Фид {values}", **values)
        entries = feed_offers.entries(made, publishing.company_of())
        return [entry.offer.public_id for entry in entries]

    assert ids() == ["A-2"]
    assert ids(include_deposit=True) == ["A-0", "A-2"]
    assert ids(include_deposit=True, filters={"min_price": "1000"}) == ["A-0"]
    assert ids(filters={"kinds": ["room"]}) == []
    assert ids(filters={"deal_types": ["sale"], "kinds": ["flat"]}) == ["A-2"]


def test_a_broken_listing_is_named_and_breaks_nothing(feed: Feed) -> None:
    bad = listing("A-1")
    bad.price, bad.floor = None, None
    db.session.commit()
    run = publishing.build_feed(feed.id)
    assert (run.state, run.created, run.refused) == (RunState.DONE, 2, 1)
    [item] = ground.items(run.id)
    assert (item.listing_id, item.internal_id, item.outcome) == (bad.id, "A-1", "refused")
    assert item.reasons == ["Не указана цена", "Не указан этаж"]
    refusals = publishing.check_listing(bad, feed)
    assert {r.field for r in refusals if r.severity == "refuse"} == {"price", "floor"}


@pytest.mark.parametrize("missing", ["name", "ogrn_name"])
def test_without_its_official_name_an_agency_has_no_feed(feed: Feed, missing: str) -> None:
    ground.company(**{missing: ""})
    run = publishing.build_feed(feed.id)
    assert run.state == RunState.FAILED
    assert "Укажите" in (run.error or "")
    assert publishing.by_token(feed.token).file is None  # type: ignore[union-attr]


# --- the file ---------------------------------------------------------------------------------


def test_the_same_data_is_the_same_file_tomorrow(feed: Feed) -> None:
    start = dt.datetime.now(dt.UTC)
    publishing.build_feed(feed.id)
    before, plain = publishing.by_token(feed.token), content(feed)
    assert before is not None
    etag, file_id = before.etag, before.file_id
    with time_machine.travel(start + dt.timedelta(days=3)):
        run = publishing.build_feed(feed.id)
    after = publishing.by_token(feed.token)
    assert after is not None
    assert (after.etag, after.file_id, content(feed)) == (etag, file_id, plain)
    assert run.unchanged == 3


def test_a_change_makes_another_file_and_drops_the_old_one(feed: Feed, principal: Who) -> None:
    publishing.build_feed(feed.id)
    old = publishing.by_token(feed.token).etag  # type: ignore[union-attr]
    listings.edit_listing(listing("A-0").id, principal("admin"), {"price": "777000"})
    publishing.build_feed(feed.id)
    assert publishing.by_token(feed.token).etag != old  # type: ignore[union-attr]
    assert b"777000" in content(feed)
    kept = db.session.scalars(select(StoredFile).where(StoredFile.key.like("feeds/%"))).all()
    assert len(kept) == 2


def test_a_great_loss_asks_a_person_and_keeps_the_good_file(feed: Feed, principal: Who) -> None:
    publishing.build_feed(feed.id)
    plain = content(feed)
    for name in ("A-0", "A-1"):
        listing(name).state = ListingState.ARCHIVE
    db.session.commit()

    held = publishing.build_feed(feed.id)
    assert (held.state, held.error) == (
        RunState.HELD,
        "Было 3 предложений, стало 1. Опубликовать?",
    )
    assert content(feed) == plain
    with pytest.raises(Forbidden):
        publishing.confirm_build(held.id, principal("manager"))
    assert content(feed) == plain

    done = publishing.confirm_build(held.id, ground.with_page(principal("marketer"), "Feeds"))
    assert (done.id, done.state, done.created) == (held.id, RunState.DONE, 1)
    assert [offer.public_id for offer in published(feed)] == ["A-2"]
    with pytest.raises(Conflict):
        publishing.confirm_build(held.id, ground.with_page(principal("marketer"), "Feeds"))


def test_a_crash_leaves_the_good_file(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    publishing.build_feed(feed.id)
    plain = content(feed)
    listing("A-0").price = Decimal(5)
    db.session.commit()

    def breaking(*_: Any, **__: Any) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(publishing, "_swap", breaking)
    with pytest.raises(RuntimeError):
        publishing.build_feed(feed.id)
    assert content(feed) == plain
    assert db.session.scalars(select(FeedRun).order_by(FeedRun.id.desc())).first().state == (  # type: ignore[union-attr]
        RunState.FAILED
    )
    assert len(db.session.scalars(select(StoredFile)).all()) == 3  # ours two and the import's


def test_a_full_disk_is_told(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "store_stream", full)
    run = publishing.build_feed(feed.id)
    assert (run.state, run.error) == (RunState.FAILED, "Не удалось записать файл.")


def test_a_count_that_does_not_match_is_not_published(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_OFFER", b"<offers ")
    run = publishing.build_feed(feed.id)
    assert run.state == RunState.FAILED
    assert "не сошлась" in (run.error or "")


def test_one_build_at_a_time(feed: Feed) -> None:
    publishing._begin(feed.id, None)
    with pytest.raises(Conflict):
        publishing.build_feed(feed.id)
    with pytest.raises(NotFound):
        publishing.build_feed(999)


# --- when -------------------------------------------------------------------------------------


def test_only_feeds_with_something_new_are_due(feed: Feed, principal: Who) -> None:
    start = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    with time_machine.travel(start, tick=False) as clock:
        assert publishing.due_feeds() == [feed.id]
        publishing.build_feed(feed.id)
        clock.shift(600)
        assert publishing.due_feeds() == []
        publishing.note_fetch(feed.id)
        assert publishing.due_feeds() == []
        listings.edit_listing(listing("A-0").id, principal("admin"), {"rooms": "4"})
        assert publishing.due_feeds() == [feed.id]
        publishing.build_feed(feed.id)
        clock.shift(dt.timedelta(hours=25))
        assert publishing.due_feeds() == [feed.id]
        feed.active = False
        db.session.commit()
        assert publishing.due_feeds() == []


def test_a_held_feed_is_not_asked_about_again_until_something_changes(feed: Feed) -> None:
    start = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    with time_machine.travel(start, tick=False) as clock:
        publishing.build_feed(feed.id)
        clock.shift(60)
        db.session.execute(text("UPDATE listing SET state = 'archive'"))
        db.session.commit()
        assert publishing.build_feed(feed.id).state == RunState.HELD
        clock.shift(dt.timedelta(days=2))
        assert publishing.due_feeds() == []


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "Х", "portal": "avito-x"}, "portal"),
        ({"name": "Х", "phone": "123"}, "phone"),
        ({"name": "Х", "filters": {"kinds": ["castle"]}}, "kinds"),
        ({"name": "Х", "filters": {"departments": ["999"]}}, "departments"),
        ({"name": "Х", "filters": {"min_price": "много"}}, "min_price"),
    ],
)
def test_a_wrong_feed_is_not_saved(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationErrors) as caught:
        records.create(Feed(**values), None)
    assert [error.field for error in caught.value.errors] == [field]


def test_filters_are_kept_clean() -> None:
    raw = {"kinds": ["flat", "flat"], "deal_types": [], "min_price": "1 000 000", "junk": 1}
    made = ground.feed("Чистый", filters=raw)
    assert made.filters == {"kinds": ["flat"], "min_price": "1000000"}


def test_a_new_address_replaces_the_old_one(feed: Feed, principal: Who) -> None:
    old = feed.token
    new = feeds.rotate_token(feed.id, principal("marketer"))
    assert publishing.by_token(old) is None
    assert publishing.by_token(new) is not None


def test_a_deleted_feed_leaves_no_file(feed: Feed, principal: Who) -> None:
    publishing.build_feed(feed.id)
    feeds.delete_feed(feed.id, principal("marketer"))
    assert db.session.scalars(select(StoredFile).where(StoredFile.key.like("feeds/%"))).all() == []


def test_queries_do_not_grow_with_listings(feed: Feed, count_queries: Any) -> None:
    publishing.build_feed(feed.id)
    with count_queries() as few:
        publishing.build_feed(feed.id)
    ground.run(
        ground.source("Ещё"),
        [replace(o, public_id=f"B-{n}") for n, o in enumerate(ground.flats(300))],
    )
    with count_queries() as many:
        publishing.build_feed(feed.id, force=True)
    # Another file has to be stored, and the old one dropped.
    assert len(many) <= len(few) + 12
