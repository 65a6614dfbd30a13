"""The board in a real browser: a card is dragged, refused, asked about, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from crm.models import Deal, db
from tests import browsers
from tests.factories import Factory

pytestmark = pytest.mark.browser


@pytest.fixture
def page(chromium: Any, committed: Flask, site: str, factory: Factory) -> Iterator[Any]:
    """The manager's page; an error of a script or of the server fails the test."""
    with browsers.page_of(chromium, committed, site, factory.people["manager"]) as opened:
        yield opened


def drag(page: Any, deal_id: int, stage_id: int) -> None:
    """Take the card with the mouse and let it go over a column."""
    card = page.locator(f'[data-deal="{deal_id}"]')
    box = card.bounding_box()
    target = page.locator(f'[data-column="{stage_id}"] [data-cards]').bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] - 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 40, steps=4)
    page.mouse.move(target["x"] + 120, target["y"] + 30, steps=12)
    page.mouse.move(target["x"] + 124, target["y"] + 34, steps=2)
    page.mouse.up()


def column_of(page: Any, deal_id: int, stage_id: int) -> Any:
    return page.locator(f'[data-column="{stage_id}"] [data-deal="{deal_id}"]')


def stage_of(deal_id: int) -> int:
    db.session.expire_all()
    db.session.rollback()
    return db.session.get(Deal, deal_id).stage_id


def complete(factory: Factory, stage: int) -> Deal:
    return factory.deal(
        stage=stage, amount=5_000_000, source_id=factory.source().id, need={"kind": "flat"}
    )


def test_allowed_move_and_its_undoing(page: Any, site: str, factory: Factory) -> None:
    deal = complete(factory, 1)
    old, new = factory.stage(1).id, factory.stage(2).id
    page.goto(f"{site}/board")
    drag(page, deal.id, new)
    undo = page.locator(".kv-toast-ok .btn", has_text="Отменить")
    undo.wait_for()
    column_of(page, deal.id, new).wait_for()
    assert stage_of(deal.id) == new
    page.locator(f'[data-column="{new}"] [data-count]', has_text="1").wait_for()
    undo.click()
    column_of(page, deal.id, old).wait_for()
    assert stage_of(deal.id) == old


def test_refused_card_flies_back_with_the_reason(page: Any, site: str, factory: Factory) -> None:
    deal = complete(factory, 0)
    page.goto(f"{site}/board")
    drag(page, deal.id, factory.stage(2).id)
    toast = page.locator(".kv-toast-bad")
    toast.wait_for()
    assert "«Потребность»" in toast.inner_text()
    column_of(page, deal.id, factory.stage(0).id).wait_for()
    assert stage_of(deal.id) == factory.stage(0).id


def test_dialog_asks_for_what_is_missing(page: Any, site: str, factory: Factory) -> None:
    deal = factory.deal(stage=0, source_id=factory.source().id)
    page.goto(f"{site}/board")
    drag(page, deal.id, factory.stage(1).id)
    dialog = page.locator(".modal.show")
    dialog.wait_for()
    assert dialog.locator('[data-field="contact_name"]').count() == 0, "it is filled already"
    dialog.locator('[data-field="need_kind"] select').select_option("flat")
    dialog.locator('[data-field="amount"] input[type=text]').fill("8900000")
    page.keyboard.press("Enter")
    column_of(page, deal.id, factory.stage(1).id).wait_for()
    page.locator(".kv-toast-ok").wait_for()
    assert stage_of(deal.id) == factory.stage(1).id
    assert db.session.get(Deal, deal.id).amount == 8_900_000


def test_closed_dialog_puts_the_card_back(page: Any, site: str, factory: Factory) -> None:
    deal = complete(factory, 1)
    page.goto(f"{site}/board?stage=")
    card = page.locator(f'[data-deal="{deal.id}"]')
    card.focus()
    page.keyboard.press("m")
    page.locator(".kv-stage-list button", has_text="Отказ").click()
    dialog = page.locator(".modal.show", has_text="Причина отказа")
    dialog.locator("select:focus").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    column_of(page, deal.id, factory.stage(1).id).wait_for()
    assert stage_of(deal.id) == factory.stage(1).id


def test_keyboard_moves_a_card(page: Any, site: str, factory: Factory) -> None:
    deal = complete(factory, 1)
    page.goto(f"{site}/board")
    page.locator(f'[data-deal="{deal.id}"]').focus()
    page.keyboard.press("Shift+ArrowRight")
    column_of(page, deal.id, factory.stage(2).id).wait_for()
    assert stage_of(deal.id) == factory.stage(2).id


def test_value_is_edited_in_place(page: Any, site: str, factory: Factory) -> None:
    deal = complete(factory, 1)
    page.goto(f"{site}/deals/{deal.id}")
    page.locator('[data-edit="payment"]').click()
    field = page.locator(".kv-inline input")
    field.fill("Ипотека, одобрена")
    field.press("Enter")
    page.locator('[data-edit="payment"]', has_text="Ипотека, одобрена").wait_for()
    page.locator('[data-edit="amount"]').click()
    page.locator(".kv-inline input[type=text]").press("Escape")
    page.locator('[data-edit="amount"]').wait_for()
    page.locator("[data-comment] textarea").fill("Перезвонить после 18")
    page.keyboard.press("Control+Enter")
    page.locator("[data-feed]", has_text="Перезвонить после 18").wait_for()


def test_the_next_field_opens_while_the_last_one_is_still_being_shown(
    page: Any, site: str, factory: Factory
) -> None:
    """The card is renewed after each change; a slow answer must not lose the next field."""
    deal = complete(factory, 1)
    page.goto(f"{site}/deals/{deal.id}")
    page.route("**/fields/comment", lambda route: (page.wait_for_timeout(1200), route.continue_()))
    page.locator('[data-edit="payment"]').click()
    page.locator(".kv-inline input").fill("Ипотека")
    page.keyboard.press("Enter")
    page.locator('[data-edit="comment"]').click()
    page.locator('[data-edit="payment"]', has_text="Ипотека").wait_for()
    field = page.locator('.kv-inline textarea[name="comment"]')
    field.fill("Звонить после 18")
    page.keyboard.press("Control+Enter")
    page.locator('[data-edit="comment"]', has_text="Звонить после 18").wait_for()


def test_dialogs_speak_the_language_of_the_page(page: Any, site: str, factory: Factory) -> None:
    deal = factory.deal(stage=0, source_id=factory.source().id)
    page.goto(f"{site}/board")
    page.locator("html").evaluate("node => { node.lang = 'en'; }")
    page.locator(f'[data-deal="{deal.id}"]').focus()
    page.keyboard.press("Shift+ArrowRight")
    dialog = page.locator(".modal.show")
    dialog.locator(".modal-title", has_text="Something is missing").wait_for()
    assert dialog.locator("[data-ok]").inner_text() == "Move"
