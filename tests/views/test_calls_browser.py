"""The card of a call and the search's drop-down in a real browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from sqlalchemy import select
from werkzeug.serving import make_server

from crm.models import CallState, Employee, Pipeline, db
from crm.operations import bus, search_index
from crm.operations.transaction import transaction
from crm.security import sessions
from crm.values.clock import utc_now
from tests import people as people_module
from tests.conftest import CSRF
from tests.factories import Factory
from tests.views.telephony_rows import ringing

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no Chromium here"),
]
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}


@pytest.fixture
def site(committed: Flask) -> Iterator[str]:
    """A live server on a free port over the suite's own database."""
    server = make_server("127.0.0.1", 0, committed, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def factory(committed: Flask) -> Factory:
    query = select(Employee).where(Employee.username.in_(people_module.NAMES))
    people = {user.username: user for user in db.session.scalars(query)}
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    return Factory(people, pipeline)


@pytest.fixture(params=["desk", "phone"])
def page(
    request: pytest.FixtureRequest, committed: Flask, site: str, factory: Factory
) -> Iterator[Any]:
    """A page of the manager; an error of a script fails the test."""
    person = factory.people["manager"]
    token = sessions.open_session(person.id, hours=1)
    db.session.commit()
    signer = SecureCookieSessionInterface().get_signing_serializer(committed)
    assert signer is not None
    identity = {"_user_id": f"{person.id}.{token}", "_fresh": True, "csrf_token": CSRF}
    width, height = WIDTHS[request.param]
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": width, "height": height})
        cookie = {"name": "kvartal", "value": signer.dumps(identity), "url": site}
        context.add_cookies([cookie])
        opened = context.new_page()
        opened.on("pageerror", lambda error: problems.append(str(error)))
        yield opened
        browser.close()
    assert problems == []


def tell(page: Any, kind: str, **detail: Any) -> None:
    """What ``events.js`` does with a message from the server."""
    page.evaluate(
        "([kind, detail]) => document.dispatchEvent(new CustomEvent(`kv:${kind}`, {detail}))",
        [kind, detail],
    )


def cards(page: Any) -> Any:
    return page.locator("[data-call-pop]")


def test_a_call_pops_up_and_goes(page: Any, site: str, factory: Factory) -> None:
    deal = factory.deal(contact=factory.contact("Ольга Мартынова", "+79215540813"))
    first, second = ringing(deal), ringing(factory.deal())
    # The stream does not exist here: the event comes by polling, which must have begun.
    with page.expect_response("**/api/v1/events/poll**"):
        page.goto(f"{site}/appeals")
    with transaction():
        bus.emit("call.ringing", [factory.people["manager"].id], call_id=first.id)
    cards(page).wait_for(timeout=15_000)
    assert "+7 921 554-08-13" in cards(page).inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    tell(page, "call.ringing", call_id=second.id)
    tell(page, "call.ringing", call_id=second.id)
    playwright.expect(cards(page)).to_have_count(2)
    page.goto(f"{site}/calls")
    playwright.expect(cards(page)).to_have_count(2)

    tell(page, "call.answered", call_id=second.id, employee_id=factory.people["head"].id)
    playwright.expect(cards(page)).to_have_count(1)
    first.state, first.answered_at = CallState.ANSWERED, utc_now()
    first.employee_id = factory.people["manager"].id
    db.session.commit()
    tell(page, "call.answered", call_id=first.id, employee_id=first.employee_id)
    playwright.expect(cards(page)).to_contain_text("Вы на связи")
    tell(page, "call.ended", call_id=first.id)
    playwright.expect(cards(page)).to_have_count(0)


def test_the_card_can_be_hidden(page: Any, site: str, factory: Factory) -> None:
    calls = [ringing(factory.deal()) for _ in range(2)]
    page.goto(f"{site}/calls")
    for call in calls:
        tell(page, "call.ringing", call_id=call.id)
        page.locator(f'[data-call-pop="{call.id}"]').wait_for()
    page.keyboard.press("Escape")
    playwright.expect(cards(page)).to_have_count(1)
    cards(page).get_by_role("button", name="Скрыть").click()
    playwright.expect(cards(page)).to_have_count(0)
    page.reload()
    playwright.expect(cards(page)).to_have_count(0)


def test_the_deal_is_one_click_away(page: Any, site: str, factory: Factory) -> None:
    deal = factory.deal()
    call = ringing(deal)
    page.goto(f"{site}/calls")
    tell(page, "call.ringing", call_id=call.id)
    cards(page).get_by_role("link", name="Открыть сделку").click()
    page.wait_for_url(f"**/deals/{deal.id}")


def test_a_foreign_call_does_not_show(page: Any, site: str, factory: Factory) -> None:
    foreign = ringing(factory.deal("stranger"))
    page.goto(f"{site}/calls")
    with page.expect_response(f"**/calls/{foreign.id}/popup") as answer:
        tell(page, "call.ringing", call_id=foreign.id)
    assert answer.value.status == 404
    assert cards(page).count() == 0


def test_search_by_the_keyboard(page: Any, site: str, factory: Factory) -> None:
    contact = factory.contact("Ольга Мартынова", "+79215540813")
    search_index.reindex_contact(contact)
    deal = factory.deal(contact=contact)
    db.session.commit()
    page.goto(f"{site}/calls")
    page.keyboard.press("/")
    page.keyboard.type("0813")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    box = page.locator("#global-search")
    assert box.get_attribute("aria-activedescendant") == "found-0"
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#global-found")).to_be_hidden()
    page.keyboard.type(" ")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/deals/{deal.id}")
