"""Photos of listings: uploads, order, shared files, and fetching what a feed named."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from PIL import Image
from sqlalchemy import func, select

from crm.integrations.portals.base import OfferPhoto
from crm.models import Listing, PhotoState, StoredFile, db
from crm.operations import listings, photos
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.security.principal import Principal
from tests.factories import Factory
from tests.integrations.fake_http import Answer, serving

Who = Callable[[str], Principal]


def picture(color: str = "red", size: tuple[int, int] = (640, 480)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "JPEG")
    return out.getvalue()


def on_disk(app: Flask) -> set[Path]:
    root = Path(app.config["STORAGE_URL"].removeprefix("file://"))
    return {path for path in (root / "photos").rglob("*") if path.is_file()}


def stored() -> int:
    return int(db.session.scalar(select(func.count()).select_from(StoredFile)) or 0)


def order(listing: Listing) -> list[int]:
    return [photo.id for photo in photos.photos_of(listing.id)]


def test_an_upload_becomes_three_sizes(principal: Who, make: Factory) -> None:
    listing = make.listing()
    before = listing.updated_at
    photo = photos.add_photo(listing.id, principal("manager"), io.BytesIO(picture()))
    assert (photo.width, photo.height, photo.state) == (640, 480, PhotoState.STORED)
    assert photo.large is not None
    assert photo.large.public_token
    assert photo.thumb is not None
    assert photo.thumb.public_token is None
    db.session.expire_all()
    assert listing.updated_at > before
    assert listing.version == 1  # somebody's open form is not refused


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (b"", "пуст"),
        (b"garbage", "не фотография"),
        (b"<svg onload='alert(1)'/>", "SVG"),
        (picture()[:200], "повреждена"),
    ],
)
def test_what_is_no_photo_is_refused(
    principal: Who, make: Factory, upload: bytes, words: str
) -> None:
    with pytest.raises(ValidationErrors) as caught:
        photos.add_photo(make.listing().id, principal("manager"), upload)
    assert caught.value.errors[0].field == "photo"
    assert words in caught.value.message
    assert stored() == 0


def test_there_is_a_limit(principal: Who, make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MAX_PHOTOS", 1)
    listing = make.listing()
    photos.add_photo(listing.id, principal("manager"), picture())
    with pytest.raises(ValidationErrors):
        photos.add_photo(listing.id, principal("manager"), picture())


def test_the_order_is_what_people_choose(principal: Who, make: Factory) -> None:
    listing, by = make.listing(), principal("manager")
    first, second, third = (photos.add_photo(listing.id, by, picture()).id for _ in range(3))
    photos.reorder(listing.id, by, [third, first, second])
    assert order(listing) == [third, first, second]
    for wrong in ([third, first], [third, first, first], [third, first, second, 99]):
        with pytest.raises(Conflict):
            photos.reorder(listing.id, by, wrong)
    assert photos.set_kind(first, by, "plan").kind == "plan"
    with pytest.raises(ValidationErrors):
        photos.set_kind(first, by, "selfie")


def test_a_deleted_photo_takes_its_files_along(app: Flask, principal: Who, make: Factory) -> None:
    listing, by = make.listing(), principal("manager")
    before = on_disk(app)
    photo = photos.add_photo(listing.id, by, picture())
    assert len(on_disk(app) - before) == 3
    photos.delete_photo(photo.id, by)
    assert on_disk(app) == before
    assert (order(listing), stored()) == ([], 0)


def test_files_of_a_copy_stay_until_the_last_one_is_gone(
    app: Flask, principal: Who, make: Factory
) -> None:
    listing, by = make.listing(), principal("manager")
    before = on_disk(app)
    photo = photos.add_photo(listing.id, by, picture())
    copy = listings.copy_listing(listing.id, by)
    photos.delete_photo(photo.id, by)
    assert len(on_disk(app) - before) == 3
    [last] = photos.photos_of(copy.id)
    photos.delete_photo(last.id, by)
    assert on_disk(app) == before


def test_only_those_who_may_edit_touch_photos(principal: Who, make: Factory) -> None:
    listing = make.listing()
    photo = photos.add_photo(listing.id, principal("manager"), picture())
    stranger = principal("stranger")
    for act in (
        lambda by: photos.add_photo(listing.id, by, picture()),
        lambda by: photos.reorder(listing.id, by, [photo.id]),
        lambda by: photos.set_kind(photo.id, by, "plan"),
        lambda by: photos.delete_photo(photo.id, by),
    ):
        with pytest.raises(Forbidden):
            act(stranger)
        with pytest.raises(NotFound):
            act(Principal(id=stranger.id))


# --- from feeds -------------------------------------------------------------------------------


def test_a_named_photo_is_fetched_once(make: Factory) -> None:
    listing = make.listing()
    asked: list[Any] = []

    def respond(request: Any) -> Answer:
        asked.append(request.path)
        return Answer(body=picture("blue"), content_type="image/jpeg")

    with serving(respond) as site:
        photos.attach_remote(listing, [f"{site}/1.jpg", OfferPhoto(f"{site}/2.jpg")])
        assert len(photos.due_photos()) == 2
        assert photos.fetch_due() == 2
        assert photos.fetch(order(listing)[0]) is None
    assert asked == ["/1.jpg", "/2.jpg"]
    assert {photo.state for photo in photos.photos_of(listing.id)} == {PhotoState.STORED}
    assert photos.due_photos() == []


def test_a_failing_server_is_asked_again_later_and_given_up_at_last(make: Factory) -> None:
    listing = make.listing()
    start = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
    with (
        time_machine.travel(start, tick=False) as clock,
        serving(lambda request: Answer(503)) as site,
    ):
        photos.attach_remote(listing, [f"{site}/1.jpg"])
        [pk] = order(listing)
        for pause in photos.BACK_OFF:
            assert photos.fetch(pk) == PhotoState.WAITING
            assert photos.fetch(pk) is None
            clock.shift(pause)
        assert photos.fetch(pk) == PhotoState.FAILED
    [photo] = photos.photos_of(listing.id)
    assert "503" in (photo.error or "")


@pytest.mark.parametrize("answer", [Answer(404), Answer(body=b"<html>no</html>")])
def test_what_will_never_be_a_photo_is_given_up_at_once(make: Factory, answer: Answer) -> None:
    listing = make.listing()
    with serving(lambda request: answer) as site:
        photos.attach_remote(listing, [f"{site}/1.jpg"])
        assert photos.fetch(order(listing)[0]) == PhotoState.FAILED
    assert stored() == 0


def test_our_own_network_is_not_visited(
    app: Flask, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "OUTBOUND_ALLOW_PRIVATE", [])
    listing, asked = make.listing(), []
    with serving(lambda request: asked.append(request) or Answer()) as site:
        photos.attach_remote(listing, [f"{site}/1.jpg"])
        assert photos.fetch(order(listing)[0]) == PhotoState.FAILED
    assert asked == []


def test_a_photo_taken_out_while_it_was_fetched_leaves_no_files(committed: Flask) -> None:
    listing = Listing(public_id="x", state="draft", deal_type="sale", kind="flat")
    db.session.add(listing)
    db.session.commit()
    before = on_disk(committed)

    def respond(request: Any) -> Answer:
        with committed.app_context():
            photos.attach_remote(db.session.get(Listing, listing.id), [])
        return Answer(body=picture())

    with serving(respond) as site:
        photos.attach_remote(listing, [f"{site}/1.jpg"])
        assert photos.fetch(order(listing)[0]) is None
    assert on_disk(committed) == before


def test_the_same_picture_twice_stays_twice(make: Factory) -> None:
    listing = make.listing()
    urls = ["https://a.ru/1.jpg", "https://a.ru/1.jpg", "https://a.ru/2.jpg"]
    photos.attach_remote(listing, urls)
    first = order(listing)
    photos.attach_remote(listing, urls)
    assert order(listing) == first
    photos.attach_remote(listing, urls[1:])
    assert [photo.source_url for photo in photos.photos_of(listing.id)] == urls[1:]


def test_a_job_stops_when_its_time_is_over(make: Factory) -> None:
    photos.attach_remote(make.listing(), ["http://127.0.0.1:9/1.jpg"])
    assert photos.fetch_due(seconds=-1) == 0
