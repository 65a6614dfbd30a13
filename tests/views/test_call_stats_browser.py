"""Statistics of calls in a real browser: charts, themes, sorting, nothing wider than the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from crm.models import CallState
from crm.values.clock import utc_now
from tests import browsers
from tests.factories import Factory
from tests.views.telephony_rows import call

pytestmark = pytest.mark.browser


@pytest.fixture(params=["desk", "phone"])
def page(
    request: pytest.FixtureRequest, chromium: Any, committed: Flask, site: str, factory: Factory
) -> Iterator[Any]:
    """The director's page; an error of a script or of the server fails the test."""
    with browsers.page_of(
        chromium, committed, site, factory.people["director"], request.param
    ) as opened:
        yield opened


def ring(factory: Factory, counts: dict[str, tuple[int, int]]) -> None:
    """So many answered and missed calls of each source."""
    deal, moment = factory.deal(), utc_now() - dt.timedelta(minutes=5)
    for name, (answered, missed) in counts.items():
        source = factory.source(name)
        for number in range(answered + missed):
            lost = number >= answered
            call(
                deal,
                source_id=source.id,
                started_at=moment,
                answered_at=None if lost else moment + dt.timedelta(seconds=7),
                state=CallState.MISSED if lost else CallState.ENDED,
                employee_id=None if lost else deal.responsible_id,
            )


def names(page: Any) -> list[str]:
    cells = page.locator("table[aria-labelledby=stats-source] tbody th").all_inner_texts()
    return [text.strip() for text in cells]


def test_tables_are_sorted_by_their_heads(page: Any, site: str, factory: Factory) -> None:
    ring(factory, {"Авито": (3, 1), "Циан": (1, 2), "ДомКлик": (2, 0)})
    page.goto(f"{site}/calls/stats")
    table = page.locator("table[aria-labelledby=stats-source]")
    assert names(page) == ["Авито", "Циан", "ДомКлик"]
    for head, first, then in (
        ("Пропущены", ["Циан", "Авито", "ДомКлик"], ["ДомКлик", "Авито", "Циан"]),
        ("Доля пропущенных", ["Циан", "Авито", "ДомКлик"], ["ДомКлик", "Авито", "Циан"]),
        ("Источник", ["Авито", "ДомКлик", "Циан"], ["Циан", "ДомКлик", "Авито"]),
    ):
        button = table.get_by_role("button", name=head, exact=True)
        button.click()
        assert names(page) == first, head
        button.click()
        assert names(page) == then, head
    assert table.locator("[aria-sort]").count() == 1
    assert table.locator("[aria-sort]").get_attribute("aria-sort") == "descending"


def test_charts_show_the_numbers_of_their_tables(page: Any, site: str, factory: Factory) -> None:
    ring(factory, {"Авито": (3, 1)})
    page.goto(f"{site}/calls/stats?period=today")
    read = """id => window.Chart.getChart(document.querySelector(`[data-chart-of=${id}]`))
        .data.datasets.map((set) => [set.label, set.data.reduce((a, b) => a + b, 0)])"""
    for chart in ("stats-days", "stats-hours"):
        assert page.evaluate(read, chart) == [["Приняты", 3], ["Пропущены", 1], ["Исходящие", 0]]
    page.get_by_text("Таблицей").first.click()
    browsers.expect(page.locator("#stats-days")).to_be_visible()


def test_charts_follow_the_theme(page: Any, site: str, factory: Factory) -> None:
    ring(factory, {"Авито": (1, 0)})
    page.goto(f"{site}/calls/stats")
    colour = """() => window.Chart.getChart(document.querySelector('[data-chart-of]'))
        .data.datasets[0].backgroundColor"""
    light = page.evaluate(colour)
    assert light.startswith("#")
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    page.wait_for_function(f"({colour})() !== '{light}'")


def test_nothing_is_wider_than_the_page(page: Any, site: str, factory: Factory) -> None:
    ring(factory, {"Очень длинное название рекламного источника для проверки": (2, 1)})
    for query in ("", "?period=own&from=2026-01-01&to=2026-01-02", "?period=7&direction=in"):
        page.goto(f"{site}/calls/stats{query}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), query
