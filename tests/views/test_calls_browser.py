"""The card of a call and the search's drop-down in a real browser."""

from __future__ import annotations

import datetime as dt
import io
import wave
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from crm.models import (
    CallState,
    RecordingState,
    TelephonyConnection,
    TelephonyLine,
    db,
)
from crm.operations import bus, dialling, files, search_index
from crm.operations.errors import Conflict
from crm.operations.transaction import transaction
from crm.values.clock import utc_now
from tests import browsers, inbound
from tests.factories import Factory
from tests.views.telephony_rows import call, ringing

pytestmark = pytest.mark.browser


@pytest.fixture(params=["desk", "phone"])
def page(
    request: pytest.FixtureRequest, chromium: Any, committed: Flask, site: str, factory: Factory
) -> Iterator[Any]:
    """The manager's page; an error of a script or of the server fails the test."""
    with browsers.page_of(
        chromium, committed, site, factory.people["manager"], request.param
    ) as opened:
        yield opened


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
    browsers.expect(cards(page)).to_have_count(2)
    page.goto(f"{site}/calls")
    browsers.expect(cards(page)).to_have_count(2)

    tell(page, "call.answered", call_id=second.id, employee_id=factory.people["head"].id)
    taken = page.locator(f'[data-call-pop="{second.id}"]')
    browsers.expect(taken).to_contain_text("Ответил Head Тестов")
    tell(page, "call.ended", call_id=second.id)
    browsers.expect(taken).to_be_visible()
    browsers.expect(cards(page)).to_have_count(1, timeout=8_000)
    first.state, first.answered_at = CallState.ANSWERED, utc_now()
    first.employee_id = factory.people["manager"].id
    db.session.commit()
    tell(page, "call.answered", call_id=first.id, employee_id=first.employee_id)
    browsers.expect(cards(page)).to_contain_text("Вы на связи")
    tell(page, "call.ended", call_id=first.id)
    browsers.expect(cards(page)).to_have_count(0)


def test_the_card_can_be_hidden(page: Any, site: str, factory: Factory) -> None:
    page.goto(f"{site}/calls")
    for live in [ringing(factory.deal()) for _ in range(2)]:
        tell(page, "call.ringing", call_id=live.id)
        page.locator(f'[data-call-pop="{live.id}"]').wait_for()
    page.keyboard.press("Escape")
    browsers.expect(cards(page)).to_have_count(1)
    cards(page).get_by_role("button", name="Скрыть").click()
    browsers.expect(cards(page)).to_have_count(0)
    page.reload()
    browsers.expect(cards(page)).to_have_count(0)


def test_the_deal_is_one_click_away(page: Any, site: str, factory: Factory) -> None:
    deal = factory.deal()
    live = ringing(deal)
    page.goto(f"{site}/calls")
    tell(page, "call.ringing", call_id=live.id)
    cards(page).get_by_role("link", name="Открыть сделку").click()
    page.wait_for_url(f"**/deals/{deal.id}")


def test_a_foreign_call_does_not_show(page: Any, site: str, factory: Factory) -> None:
    foreign = ringing(factory.deal("stranger"))
    page.goto(f"{site}/calls")
    with page.expect_response(f"**/calls/{foreign.id}/popup?new=1") as answer:
        tell(page, "call.ringing", call_id=foreign.id)
    assert answer.value.status == 204
    assert cards(page).count() == 0


def test_an_old_ringing_does_not_pop_up(page: Any, site: str, factory: Factory) -> None:
    old = ringing(factory.deal())
    old.updated_at = utc_now() - dt.timedelta(seconds=90)
    db.session.commit()
    page.goto(f"{site}/calls")
    with page.expect_response(f"**/calls/{old.id}/popup?new=1") as answer:
        tell(page, "call.ringing", call_id=old.id)
    assert answer.value.status == 204
    assert cards(page).count() == 0


# --- dialling -------------------------------------------------------------------------------------


def step(call: Any, page: Any, kind: str, **values: Any) -> None:
    """The operator tells of the call, and the browser hears of it."""
    for name, value in values.items():
        setattr(call, name, value)
    db.session.commit()
    tell(page, f"call.{kind}", call_id=call.id, employee_id=call.employee_id)


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch, factory: Factory) -> Any:
    """Dialling gives this call, which waits for its events."""
    deal = factory.deal(contact=factory.contact("Ольга Мартынова", "+79215540813"))
    live = ringing(
        deal, direction="out", state=CallState.NEW, employee_id=factory.people["manager"].id
    )
    asked: list[dict[str, Any]] = []

    def place(_by: Any, **wanted: Any) -> Any:
        asked.append(wanted)
        return live

    monkeypatch.setattr(dialling, "click_to_call", place)
    live.asked = asked
    return live


def test_the_button_tells_how_the_call_goes(
    page: Any, site: str, factory: Factory, ordered: Any
) -> None:
    page.goto(f"{site}/deals/{ordered.deal_id}")
    button = page.locator("button[data-call]").first
    button.click()
    browsers.expect(button).to_have_attribute("data-call-state", "ordered")
    browsers.expect(button).to_contain_text("Звоним вам")
    assert ordered.asked[0]["deal_id"] == ordered.deal_id
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    step(ordered, page, "dialling", state=CallState.RINGING)
    browsers.expect(button).to_contain_text("Звоним клиенту")
    step(ordered, page, "answered", state=CallState.ANSWERED, answered_at=utc_now())
    browsers.expect(button).to_have_attribute("data-call-state", "talking")
    browsers.expect(button).to_contain_text("00:0")
    step(ordered, page, "ended", state=CallState.ENDED, talk=65, result="answered")
    browsers.expect(button).to_contain_text("Завершён 01:05")
    browsers.expect(button).to_contain_text("+7 921 554-08-13", timeout=8_000)


def test_the_button_says_why_nobody_was_reached(page: Any, site: str, ordered: Any) -> None:
    page.goto(f"{site}/calls")
    button = page.locator("button[data-call-again]").first
    button.click()
    browsers.expect(button).to_contain_text("Звоним вам")
    step(ordered, page, "ended", state=CallState.ENDED, result="busy")
    browsers.expect(button).to_have_attribute("data-call-state", "failed")
    browsers.expect(button).to_contain_text("Занято")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_refusal_to_dial_is_told_and_the_button_is_free_again(
    page: Any, site: str, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_wanted: Any) -> Any:
        raise Conflict("Вам не назначен внутренний номер")

    monkeypatch.setattr(dialling, "click_to_call", refuse)
    deal = factory.deal()
    page.goto(f"{site}/deals/{deal.id}")
    button = page.locator("button[data-call]").first
    button.click()
    browsers.expect(page.get_by_text("Вам не назначен внутренний номер")).to_be_visible()
    browsers.expect(button).to_be_enabled()
    assert button.get_attribute("data-call-state") is None


def test_ones_own_call_pops_up_and_vanishes_at_its_end(page: Any, site: str, ordered: Any) -> None:
    page.goto(f"{site}/tasks")
    tell(page, "call.dialling", call_id=ordered.id)
    browsers.expect(cards(page)).to_contain_text("Звоним вам")
    step(ordered, page, "dialling", state=CallState.RINGING)
    browsers.expect(cards(page)).to_contain_text("Звоним клиенту")
    step(ordered, page, "answered", state=CallState.ANSWERED, answered_at=utc_now())
    browsers.expect(cards(page)).to_contain_text("Вы на связи")
    step(ordered, page, "ended", state=CallState.ENDED)
    browsers.expect(cards(page)).to_have_count(0)


# --- recordings -----------------------------------------------------------------------------------


def recorded(deal: Any) -> Any:
    """A call with ten seconds of silence."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 80_000)
    stored = files.store_bytes(sound.getvalue(), "audio/wav", kind="recordings")
    return call(deal, talk=10, recording_state=RecordingState.STORED, recording_file_id=stored.id)


def test_the_player(page: Any, site: str, factory: Factory) -> None:
    first, second = (recorded(factory.deal()) for _ in range(2))
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if "/recording" in sent.url else None)
    page.goto(f"{site}/calls")
    players = [page.locator(f'[data-player]:has([src*="/{c.id}/"])') for c in (first, second)]
    browsers.expect(players[0].locator("[data-player-rate]")).to_have_text("1×")
    assert asked == [], "nothing is loaded before the first press"
    players[0].locator("[data-player-rate]").click()
    play = players[0].locator("[data-player-play]")
    play.click()
    browsers.expect(play).to_have_attribute("aria-label", "Пауза")
    paused = "node => node.querySelector('audio').paused"
    assert players[0].evaluate("node => node.querySelector('audio').playbackRate") == 1.25
    page.keyboard.press("ArrowRight")
    assert players[0].evaluate("node => node.querySelector('audio').currentTime") >= 5
    page.keyboard.press("Space")
    browsers.expect(play).to_have_attribute("aria-label", "Слушать запись")
    players[0].locator("[data-player-seek]").focus()
    page.keyboard.press("Space")
    browsers.expect(play).to_have_attribute("aria-label", "Пауза")
    players[1].locator("[data-player-play]").click()
    browsers.expect(play).to_have_attribute("aria-label", "Слушать запись")
    assert not players[1].evaluate(paused)
    assert players[1].evaluate("node => node.querySelector('audio').playbackRate") == 1.25
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    browsers.expect(players[1].locator("[data-player-rate]")).to_have_text("1,25×")


# --- calling back ---------------------------------------------------------------------------------


def test_a_mark_of_calling_back_and_its_undoing(page: Any, site: str, factory: Factory) -> None:
    made = call(
        factory.deal(contact=factory.contact("Ольга Мартынова")),
        state=CallState.MISSED,
        talk=None,
        employee_id=None,
        callback_due_at=utc_now() - dt.timedelta(minutes=12),
    )
    page.goto(f"{site}/calls?result=missed")
    line = page.locator(f'tr[data-missed="{made.id}"]')
    browsers.expect(line).to_contain_text("просрочено 12 мин")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    line.get_by_role("button", name="Перезвонил").click()
    browsers.expect(line).to_contain_text("перезвонили через")
    browsers.expect(line.locator("[data-called-back]")).to_have_count(0)
    page.get_by_role("button", name="Отменить").click()
    browsers.expect(line).to_contain_text("просрочено")


def test_what_is_done_with_a_missed_call_is_in_sight(
    page: Any, site: str, factory: Factory
) -> None:
    due = utc_now() - dt.timedelta(days=265)
    deal = factory.deal(contact=factory.contact("Константин Преображенский"))
    call(deal, state=CallState.MISSED, employee_id=None, callback_due_at=due)
    db.session.commit()
    page.goto(f"{site}/calls?result=missed")
    box = page.get_by_role("button", name="Перезвонил").bounding_box()
    frame = page.locator(".kv-scroll").bounding_box()
    assert box["x"] + box["width"] <= frame["x"] + frame["width"]


def test_the_wizard_shows_the_fields_of_the_chosen_protocol_only(
    page: Any, site: str, factory: Factory
) -> None:
    factory.people["manager"].roles = list(factory.people["admin"].roles)
    row = TelephonyConnection(name="МГТС", operator="mgts", token="t" * 32)
    db.session.add(row)
    db.session.commit()
    page.goto(f"{site}/settings/telephony/edit/{row.id}")
    shown = page.locator("[data-protocol]:visible")
    protocols = "(parts) => [...new Set(parts.map((part) => part.dataset.protocol))]"
    others = page.locator("[data-protocol]:not([data-protocol=itoolabs]):visible")
    browsers.expect(others).to_have_count(0)
    assert shown.evaluate_all(protocols) == ["itoolabs"]
    page.get_by_label("Протокол АТС").select_option("mango")
    assert shown.evaluate_all(protocols) == ["mango"]
    # Required fields out of sight do not hold the form back: the server asks for the right ones.
    page.get_by_role("button", name="Только сохранить").click()
    browsers.expect(page.locator(".kv-field-error:visible").first).to_be_visible()
    others = page.locator("[data-protocol]:not([data-protocol=mango]):visible")
    browsers.expect(others).to_have_count(0)
    assert shown.evaluate_all(protocols) == ["mango"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_columns_of_the_wizards_tables_stand_under_their_heads(
    page: Any, site: str, factory: Factory
) -> None:
    factory.people["manager"].roles = list(factory.people["admin"].roles)
    row = inbound.connection(factory.people["manager"])
    line = TelephonyLine(connection_id=row.id, number="+78126401102", key="8126401102")
    db.session.add(line)
    db.session.commit()
    for step in ("numbers", "lines"):
        page.goto(f"{site}/settings/telephony/edit/{row.id}?step={step}")
        head = page.locator(".kv-whose th").nth(2).bounding_box()
        select_box = page.locator(".kv-whose tbody tr").first.locator("select").bounding_box()
        assert abs(head["x"] - (select_box["x"] - 12)) < 6, step
        frame = page.locator(".kv-whose").bounding_box()
        last = page.locator(".kv-whose tbody tr").first.locator("button").bounding_box()
        assert frame["x"] + frame["width"] - last["x"] - last["width"] < 30, step


def test_the_filter_is_chosen_in_a_dialog_and_taken_away_by_its_chip(
    page: Any, site: str, factory: Factory
) -> None:
    # Whatever hour it is, three days ago was not yesterday.
    begun = utc_now() - dt.timedelta(days=3)
    call(factory.deal(contact=factory.contact("Ольга Мартынова")), talk=30, started_at=begun)
    call(factory.deal(contact=factory.contact("Борис Фомин")), talk=300, started_at=begun)
    page.goto(f"{site}/calls")
    page.get_by_role("button", name="Фильтр").click()
    page.get_by_label("Разговор от, мин").fill("1:30")
    page.get_by_role("button", name="Показать").click()
    page.wait_for_url("**/calls?talk_from=1*")
    browsers.expect(page.get_by_text("Борис Фомин")).to_be_visible()
    browsers.expect(page.get_by_text("Ольга Мартынова")).to_have_count(0)
    with page.expect_navigation():
        page.get_by_role("link", name="Убрать: Разговор от 1:30 мин").click()
    browsers.expect(page.get_by_text("Ольга Мартынова")).to_be_visible()
    page.get_by_role("button", name="За всё время").click()
    page.get_by_role("link", name="Вчера").click()
    page.wait_for_url("**/calls?period=yesterday")
    browsers.expect(page.get_by_text("Таких звонков нет")).to_be_visible()
    page.get_by_role("link", name="Убрать: Вчера").click()
    segments = page.locator(".kv-head .kv-seg a small")
    browsers.expect(segments).to_have_text(["2", "2"])


# --- search ---------------------------------------------------------------------------------------


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
    browsers.expect(page.locator("#global-found")).to_be_hidden()
    page.keyboard.type(" ")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/deals/{deal.id}")
