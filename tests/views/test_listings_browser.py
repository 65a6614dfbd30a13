"""A listing in a real browser: made, given photos, put in order, refused by a portal, mended."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import select

from crm.models import Company, Feed, Listing, ListingPhoto, db
from tests import browsers
from tests.factories import Factory

pytestmark = pytest.mark.browser


@pytest.fixture
def page(chromium: Any, committed: Flask, site: str, factory: Factory) -> Iterator[Any]:
    """The manager's page at an agency with one feed; an error anywhere fails the test."""
    company = db.session.scalars(select(Company)).one()
    company.name, company.ogrn_name, company.phone = "Невский", "ООО «Невский»", "+78120000000"
    db.session.add(Feed(name="Яндекс", token="b" * 43, portal="yandex", filters={}, active=True))
    db.session.commit()
    with browsers.page_of(chromium, committed, site, factory.people["manager"]) as opened:
        yield opened


def picture(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (800, 600), color).save(out, "JPEG")
    return out.getvalue()


def upload_two(page: Any) -> None:
    page.locator("#tab-pictures").click()
    page.locator("#photos input[type=file]").set_input_files(
        [
            {"name": "двор.jpg", "mimeType": "image/jpeg", "buffer": picture("#3366cc")},
            {"name": "кухня.jpg", "mimeType": "image/jpeg", "buffer": picture("#cc9933")},
        ]
    )
    page.locator("[data-shots] > li").nth(1).wait_for()
    # The gallery above is renewed and moves the rest down.
    page.locator("#gallery [data-photo]").nth(1).wait_for()


def order_of(page: Any) -> list[str]:
    ids: list[str] = page.eval_on_selector_all("[data-shots] > li", "l => l.map(e => e.dataset.id)")
    return ids


def drag_first_behind_second(page: Any) -> None:
    shots = page.locator("[data-shots] > li .kv-shot-picture")
    page.locator("[data-shots-hint]").scroll_into_view_if_needed()
    first, second = shots.nth(0).bounding_box(), shots.nth(1).bounding_box()
    page.mouse.move(first["x"] + 80, first["y"] + 60)
    page.mouse.down()
    page.mouse.move(first["x"] + 110, first["y"] + 62, steps=5)
    page.mouse.move(second["x"] + 130, second["y"] + 64, steps=15)
    page.mouse.move(second["x"] + 134, second["y"] + 66, steps=2)
    with page.expect_response(re.compile(r"/photos/order$")) as answer:
        page.mouse.up()
    assert answer.value.status == 200


def fill_the_form(page: Any, site: str) -> None:
    page.goto(f"{site}/listings/add")
    kind = page.locator("#f-kind")
    kind.evaluate("box => (box.tomselect ?? box).setValue('land')")
    assert not page.locator("#f-rooms").is_visible()
    assert page.locator("#f-land_area_m2").is_visible()
    kind.evaluate("box => box.tomselect.setValue('flat')")
    assert page.locator("#f-rooms").is_visible()
    filled = {"locality": "Пушкин", "address": "Оранжерейная ул., 42", "rooms": "2"}
    for name, text in {**filled, "area_total": "54,3", "price": "11300000"}.items():
        page.locator(f"#f-{name}").fill(text)
    page.locator("#listing-form button[type=submit]").click()
    page.wait_for_url(re.compile(r"/listings/\d+$"))


def look_through(page: Any) -> None:
    page.locator("#gallery [data-photo]").first.click()
    place = page.locator("#lightbox [data-place]")
    assert place.inner_text() == "1 / 2"
    page.keyboard.press("ArrowRight")
    assert place.inner_text() == "2 / 2"
    page.keyboard.press("Escape")


def mend_the_floor(page: Any) -> None:
    ads = page.locator("#ads")
    assert "не указан этаж" in ads.inner_text()
    ads.locator("a", has_text="Исправить 2 поля").click()
    page.locator(".kv-remarked #f-floor").wait_for()
    page.locator("#f-floor").fill("5")
    page.locator("#f-floors_total").fill("9")
    page.locator("#listing-form button[type=submit]").click()
    page.wait_for_url(re.compile(r"/listings/\d+#f-floor$"))
    assert "не примет" not in page.locator("#ads").inner_text()


def test_from_an_empty_form_to_an_accepted_listing(page: Any, site: str) -> None:
    fill_the_form(page, site)
    assert page.locator("h1").inner_text().replace("\xa0", " ") == "2-к квартира, 54,3 м²"
    assert "11 300 000 ₽" in page.locator("#gallery").inner_text().replace("\xa0", " ")
    upload_two(page)
    before = order_of(page)
    drag_first_behind_second(page)
    assert order_of(page) == before[::-1]
    page.reload()
    page.locator("#tab-pictures").click()
    assert order_of(page) == before[::-1]
    look_through(page)
    mend_the_floor(page)

    db.session.rollback()
    listing = db.session.scalars(select(Listing)).one()
    assert (listing.floor, listing.price) == (5, 11_300_000)
    query = select(ListingPhoto.id).order_by(ListingPhoto.position)
    assert [str(pk) for pk in db.session.scalars(query)] == before[::-1]


def test_a_refused_file_says_why_and_others_go_on(page: Any, site: str) -> None:
    page.goto(f"{site}/listings/add")
    page.locator("#listing-form button[type=submit]").click()
    page.wait_for_url(re.compile(r"/listings/\d+$"))
    page.locator("#tab-pictures").click()
    page.locator("#photos input[type=file]").set_input_files(
        [
            {"name": "схема.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"},
            {"name": "двор.jpg", "mimeType": "image/jpeg", "buffer": picture("#3366cc")},
        ]
    )
    page.locator("[data-shots] > li").first.wait_for()
    line = page.locator("[data-uploads] li")
    line.locator(".kv-bad").wait_for()
    assert "SVG" in line.inner_text()
    assert page.locator("[data-shots] > li").count() == 1
