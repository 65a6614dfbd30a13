"""What portals fetch: the file, 304, packed or not, HEAD, and nothing for a wrong address."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from flask import Flask
from PIL import Image

from crm.models import Feed, StoredFile, db
from crm.operations import files, photos, publishing
from tests.factories import Factory
from tests.operations import feed_ground as ground


@pytest.fixture
def feed(app: Flask) -> Feed:
    ground.company()
    ground.run(ground.source(), ground.flats(3))
    made = ground.feed()
    publishing.build_feed(made.id)
    fresh = publishing.by_token(made.token)
    assert fresh is not None
    return fresh


def address(feed: Feed) -> str:
    return f"/feeds/{feed.token}.xml"


def test_a_portal_gets_the_file_without_signing_in(visitor: Any, feed: Feed) -> None:
    answer = visitor.get(address(feed))
    assert answer.status_code == 200
    assert answer.mimetype == "application/xml"
    assert answer.data.count(b"<offer ") == 3
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert answer.headers["Cache-Control"] == "public, no-cache"
    assert "Content-Encoding" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_packed_for_those_who_read_it(visitor: Any, feed: Feed) -> None:
    packed = visitor.get(address(feed), headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert gzip.decompress(packed.data) == visitor.get(address(feed)).data
    refused = visitor.get(address(feed), headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "Content-Encoding" not in refused.headers


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_has_not_changed_is_not_sent_again(visitor: Any, feed: Feed, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    first = visitor.get(address(feed), headers=headers)
    for known in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-None-Match": f'"other", W/{first.headers["ETag"]}'},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = visitor.get(address(feed), headers=headers | known)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    other = visitor.get(
        address(feed),
        headers=headers
        | {"If-None-Match": '"other"', "If-Modified-Since": first.headers["Last-Modified"]},
    )
    assert other.status_code == 200


def test_head_tells_the_same_without_the_body(visitor: Any, feed: Feed) -> None:
    whole, head = visitor.get(address(feed)), visitor.head(address(feed))
    assert (head.status_code, head.data) == (200, b"")
    for name in ("ETag", "Last-Modified", "Content-Length", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


def test_a_wrong_or_switched_off_address_is_not_there(visitor: Any, feed: Feed) -> None:
    for wrong in ("/feeds/x.xml", f"/feeds/{feed.token}x.xml", f"/feeds/{'a' * 5000}.xml"):
        assert visitor.get(wrong).status_code == 404
    assert visitor.post(address(feed)).status_code == 405
    feed.active = False
    db.session.commit()
    assert visitor.get(address(feed)).status_code == 404


def test_a_feed_not_built_yet_asks_to_come_again(visitor: Any, app: Flask) -> None:
    answer = visitor.get(address(ground.feed("Новый")))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "600")


def test_a_lost_file_is_no_broken_answer(
    visitor: Any, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert feed.file is not None
    files._remove(feed.file.key)
    assert visitor.get(address(feed)).status_code == 503


def test_the_visit_is_noted_once_a_minute(visitor: Any, feed: Feed) -> None:
    start = dt.datetime(2026, 12, 1, 9, tzinfo=dt.UTC)

    def fetched() -> dt.datetime | None:
        db.session.expire_all()
        return feed.fetched_at

    with time_machine.travel(start, tick=False) as clock:
        changed = feed.updated_at
        visitor.get(address(feed))
        assert fetched() == start
        clock.shift(30)
        visitor.get(address(feed))
        assert fetched() == start
        clock.shift(31)
        visitor.head(address(feed))
        assert fetched() == start + dt.timedelta(seconds=61)
        assert feed.updated_at == changed


# --- photos -----------------------------------------------------------------------------------


@pytest.fixture
def photo(make: Factory, principal: Callable[[str], Any]) -> StoredFile:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "green").save(out, "JPEG")
    stored = photos.add_photo(make.listing().id, principal("manager"), out.getvalue()).large
    assert stored is not None
    return stored


def test_a_public_photo_is_kept_for_a_year(visitor: Any, photo: StoredFile) -> None:
    path = files.public_path(photo)
    answer = visitor.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert answer.data == files.read_bytes(photo)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = visitor.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_other_files_have_no_public_address(visitor: Any, photo: StoredFile, app: Flask) -> None:
    record = files.store_bytes(b"RIFF", "audio/wav", kind="recordings", public=True)
    for wrong in (
        files.public_path(record),
        f"/media/{photo.public_token}.xml",
        "/media/x.jpg",
        "/media/None.jpg",
    ):
        assert visitor.get(wrong).status_code == 404


def test_a_photo_lost_from_the_storage_is_not_there(visitor: Any, photo: StoredFile) -> None:
    files._remove(photo.key)
    assert visitor.get(files.public_path(photo)).status_code == 404
