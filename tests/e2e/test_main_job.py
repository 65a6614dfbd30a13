"""The main job with the real processes and a real browser: nothing inbound is ever lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

import config
from crm.models import Appeal, Call, Deal, DeliveryState, InboundDelivery, Stage
from tests.e2e.conftest import AVITO_LINE, MANAGER_EXTENSION, Desk, Outside
from tests.e2e.product import DeadRedis, Product, until
from tests.views.test_board_browser import column_of, drag

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    # The product is started once: its tests stay in one process.
    pytest.mark.xdist_group("product"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]
MANAGER = "Ольга Соколова"
# The promise is one second; a busy machine of the suite gets two.
POP_UP_SECONDS = 2.0
ALL_IN_SECONDS = 60.0
# Without Redis the scheduler itself looks every two seconds.
SWEPT_SECONDS = 10.0
KILL_REDIS_AFTER, KILL_WORKER_AFTER, DELIVERIES = 10, 30, 50
DEAD_SECONDS = 4.0


def pretty(number: str) -> str:
    return f"+7 {number[1:4]} {number[4:7]}-{number[7:9]}-{number[9:]}"


def card_of(page: Any, number: str) -> Any:
    """The pop-up of a call from this number."""
    return page.locator("[data-call-pop]", has_text=pretty(number))


def open_board(page: Any, product: Product) -> None:
    """The board, with its stream of events open."""
    page.goto(f"{product.base}/board")
    streams = "window.kvEvents?.online === true && !window.kvEvents.polling"
    until(lambda: page.evaluate(streams) is True, 15, "no stream of events")


def deal_of(product: Product, number: str) -> int | None:
    """The deal that a call from this number has made."""
    query = select(Call.deal_id).where(Call.client_key == number[1:], Call.deal_id.is_not(None))
    found: int | None = product.value(query)
    return found


def has_deal(product: Product, number: str) -> bool:
    return deal_of(product, number) is not None


def stage_ids(product: Product, pipeline_of: int) -> dict[str, int]:
    """Ids of the stages by name in the pipeline of a deal."""
    pipeline = select(Deal.pipeline_id).where(Deal.id == pipeline_of).scalar_subquery()
    query = select(Stage.name, Stage.id).where(Stage.pipeline_id == pipeline)
    return {row.name: row.id for row in product.rows(query)}


def send_all(outside: Outside, messages: list[Any]) -> None:
    for message in messages:
        answer = outside.send_call(message)
        assert answer.ok, f"{answer.status_code} {answer.text}"


# --- the call -------------------------------------------------------------------------------------


def test_a_call_pops_up_within_a_second(
    product: Product, desk: Desk, outside: Outside, new_number: Callable[[], str]
) -> None:
    page = desk.sign_in(MANAGER)
    open_board(page, product)
    took = []
    for _ in range(5):
        number = new_number()
        messages = outside.call(number)
        began = time.time()
        send_all(outside, messages[:1])
        card = card_of(page, number)
        card.wait_for(timeout=30_000)
        call_id = card.get_attribute("data-call-pop")
        took.append(page.evaluate("(id) => window.kvSeen[id]", call_id) / 1000 - began)
        assert "Авито" in card.inner_text()
        assert "первый звонок" in card.inner_text()
        send_all(outside, messages[1:])
        card.wait_for(state="detached", timeout=10_000)
        until(partial(has_deal, product, number), 10, "no deal")
        new = page.locator(f'[data-deal="{deal_of(product, number)}"]')
        new.wait_for(timeout=10_000)
        assert "Авито" in new.inner_text()
        assert new.get_by_label("Незаведённая").count() == 1
    print(f"\npop-up after: {', '.join(f'{one * 1000:.0f} ms' for one in sorted(took))}")
    assert max(took) <= POP_UP_SECONDS


def test_simulated_call_from_the_shell(
    product: Product, desk: Desk, new_number: Callable[[], str]
) -> None:
    page = desk.sign_in(MANAGER)
    open_board(page, product)
    number = new_number()
    options = ("--from", number, "--line", AVITO_LINE, "--extension", MANAGER_EXTENSION)
    said: list[str] = []
    shell = threading.Thread(
        target=lambda: said.append(product.crm("simulate", "call", *options, "--json"))
    )
    shell.start()
    card_of(page, number).wait_for(timeout=30_000)
    shell.join(60)
    told = json.loads(said[0])
    assert told["ok"] is True
    assert f"{product.base}/board" in told["pages"]
    card_of(page, number).wait_for(state="detached", timeout=10_000)
    column = page.locator("[data-column]", has_text="Первичный контакт")
    deal = column.locator(f'[data-deal="{deal_of(product, number)}"]')
    deal.wait_for(timeout=10_000)
    assert "Авито" in deal.inner_text()


def test_the_same_delivery_again_changes_nothing(
    product: Product, outside: Outside, new_number: Callable[[], str]
) -> None:
    messages = outside.call(new_number())
    lead = outside.lead(new_number())
    send_all(outside, messages)
    assert outside.send_lead(lead).status_code == 201
    until(lambda: product.pending() == 0, 30, "deliveries are not taken in")
    before = product.counts()
    send_all(outside, messages)
    assert outside.send_lead(lead).ok
    # A wake-up, had there been one, would have been served by now.
    time.sleep(2)
    assert product.pending() == 0
    after = product.counts()
    assert after == before | {"repeats": before["repeats"] + len(messages) + 1}


# --- the board ------------------------------------------------------------------------------------


def test_a_mandatory_stage_cannot_be_skipped(
    product: Product, desk: Desk, outside: Outside, new_number: Callable[[], str]
) -> None:
    page = desk.sign_in(MANAGER)
    open_board(page, product)
    number = new_number()
    send_all(outside, outside.call(number))
    until(lambda: product.pending() == 0, 30, "deliveries are not taken in")
    # The last live update would take the card out of the hand of a mouse that is this fast.
    open_board(page, product)
    deal = deal_of(product, number)
    assert deal is not None
    stages = stage_ids(product, deal)
    first, need = stages["Первичный контакт"], stages["Потребность"]
    column_of(page, deal, first).wait_for(timeout=10_000)

    drag(page, deal, stages["Показ / Встреча"])
    refusal = page.locator(".kv-toast-bad")
    refusal.wait_for()
    assert "«Потребность»" in refusal.inner_text()
    column_of(page, deal, first).wait_for()
    stage_of = select(Deal.stage_id).where(Deal.id == deal)
    assert product.value(stage_of) == first

    drag(page, deal, need)
    dialog = page.locator(".modal.show")
    dialog.wait_for()
    dialog.locator('[data-field="contact_name"] input').fill("Тамара Лосева")
    dialog.locator('[data-field="amount"] input[type=text]').fill("8900000")
    dialog.locator('[data-field="need_kind"] select').select_option("flat")
    dialog.locator("[data-ok]").click()
    column_of(page, deal, need).wait_for()
    undo = page.locator(".kv-toast-ok .btn", has_text="Отменить")
    undo.wait_for()
    assert product.value(stage_of) == need
    undo.click()
    column_of(page, deal, first).wait_for()
    assert product.value(stage_of) == first
    for status in (409, 422):
        desk.forgive("/move", status)


def test_the_phone_shows_the_call_and_the_tabs(
    product: Product, desk: Desk, outside: Outside, new_number: Callable[[], str]
) -> None:
    page = desk.sign_in(MANAGER, 390, 844)
    open_board(page, product)
    number = new_number()
    messages = outside.call(number)
    send_all(outside, messages[:2])
    card = card_of(page, number)
    card.wait_for(timeout=30_000)
    playwright.expect(card).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tabs = page.locator(".kv-tabbar a")
    addresses = [tab.get_attribute("href") for tab in tabs.all()]
    assert len(addresses) == 4
    for address in addresses:
        tabs.and_(page.locator(f'[href="{address}"]')).click()
        page.wait_for_url(f"**{address}*")
        card_of(page, number).wait_for()
        assert tabs.and_(page.locator("[aria-current=page]")).get_attribute("href") == address
    send_all(outside, messages[2:])
    card_of(page, number).wait_for(state="detached", timeout=10_000)


# --- nothing is lost ------------------------------------------------------------------------------


@pytest.fixture
def mended(product: Product) -> Iterator[None]:
    """After the test the product is whole again."""
    product.wait_healthy()
    yield
    product.wait_healthy()


@pytest.mark.usefixtures("mended")
def test_nothing_is_lost_with_redis_and_worker_killed(
    product: Product, outside: Outside, new_number: Callable[[], str]
) -> None:
    numbers = [new_number() for _ in range(DELIVERIES)]
    before = product.counts()
    dead, without_redis = DeadRedis(product, DEAD_SECONDS), 0
    last_id = product.value(select(func.max(InboundDelivery.id))) or 0
    for index, number in enumerate(numbers):
        if index == KILL_REDIS_AFTER:
            dead.start()
        if index == KILL_WORKER_AFTER:
            product.kill_worker()
        without_redis += not product.redis_answers()
        if index % 2:
            answer = outside.send_lead(outside.lead(number))
        else:
            # The whole call in one notice: what came before it may be lost by the operator too.
            *_, summary = outside.call(number, answered=index % 4 == 0)
            answer = outside.send_call(summary)
        assert answer.ok, f"delivery {index}: {answer.status_code} {answer.text}"
        time.sleep(0.1)
    dead.wait()
    assert without_redis >= 10, f"Redis was hardly dead, {dead.kills} times"

    own = InboundDelivery.id > last_id
    done = select(func.count()).where(own, InboundDelivery.state == DeliveryState.DONE)
    took = until(
        lambda: product.value(done) == DELIVERIES, ALL_IN_SECONDS, "deliveries are not taken in"
    )
    print(f"\n{without_redis} of {DELIVERIES} came without Redis; all taken in after {took:.1f} s")
    after = product.counts()
    assert after["deliveries"] - before["deliveries"] == DELIVERIES
    assert after["repeats"] == before["repeats"]
    assert after["calls"] - before["calls"] == DELIVERIES // 2
    assert after["deals"] - before["deals"] == DELIVERIES
    keys = [f"+{number}" for number in numbers]
    appeals = product.rows(select(Appeal.phone).where(Appeal.phone.in_(keys)))
    assert sorted(row.phone for row in appeals) == sorted(keys)


@pytest.mark.usefixtures("mended")
def test_with_redis_dead_the_sweeper_takes_everything_in(
    product: Product, outside: Outside, new_number: Callable[[], str]
) -> None:
    number = new_number()
    dead = DeadRedis(product, ALL_IN_SECONDS)
    dead.start()
    try:
        assert outside.send_lead(outside.lead(number)).status_code == 201
        came = select(func.count()).where(Appeal.phone == f"+{number}")
        took = until(lambda: product.value(came) == 1, SWEPT_SECONDS, "it is not taken in")
    finally:
        dead.stop()
    print(f"\nwithout Redis taken in after {took:.1f} s")


# --- leaving --------------------------------------------------------------------------------------


class Stream:
    """The event stream read with a cookie by something that is not the browser."""

    def __init__(self, product: Product, cookie: str) -> None:
        self._url, self._cookies = product.events, {"kvartal": cookie}
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._opened.wait(10), "the stream did not open"

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def _read(self) -> None:
        options: Any = {"cookies": self._cookies, "stream": True, "timeout": (5, 60)}
        with requests.get(self._url, **options) as answer:
            answer.raise_for_status()
            for _ in answer.iter_content(64):
                self._opened.set()


def sign_out(page: Any) -> None:
    page.get_by_role("button", name=f"Меню: {MANAGER}").click()
    page.get_by_role("button", name="Выйти").click()
    page.wait_for_url("**/login/**")


def cookie_of(page: Any) -> str:
    return next(str(c["value"]) for c in page.context.cookies() if c["name"] == "kvartal")


def test_after_logout_stream_and_copied_cookie_are_dead(product: Product, desk: Desk) -> None:
    leaving, staying = desk.sign_in(MANAGER), desk.sign_in(MANAGER)
    for page in (leaving, staying):
        open_board(page, product)
    copied, other = cookie_of(leaving), cookie_of(staying)
    stolen, honest = Stream(product, copied), Stream(product, other)

    leaving.get_by_role("button", name=f"Меню: {MANAGER}").click()
    leaving.get_by_role("button", name="Выйти").click()
    leaving.wait_for_url("**/login/**")
    print(
        f"\nstream ended {until(lambda: not stolen.is_open, 10, 'the stream goes on'):.1f} s later"
    )

    assert honest.is_open
    board = f"{product.base}/board"
    refused = requests.get(board, cookies={"kvartal": copied}, allow_redirects=False, timeout=10)
    assert refused.status_code == 302
    assert "/login" in refused.headers["Location"]
    assert requests.get(product.events, cookies={"kvartal": copied}, timeout=10).status_code == 401
    assert requests.get(board, cookies={"kvartal": other}, timeout=10).status_code == 200
    staying.reload()
    assert staying.locator("#board").count() == 1
    sign_out(staying)
    until(lambda: not honest.is_open, 10, "the stream goes on")


# --- the second start -----------------------------------------------------------------------------


def test_a_second_product_is_refused_and_says_of_the_first(product: Product) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "crm.running"],
        env=product.env,
        cwd=config.ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert product.base in second.stderr
