"""One running product for the module, browsers, and the doors that machines knock at."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from crm.integrations.http import GuardedClient
from crm.integrations.leads import registry as channels
from crm.integrations.leads.base import IntakeSettings, LeadScenario
from crm.integrations.telephony import registry as operators
from crm.integrations.telephony.base import TelephonyOperator
from crm.integrations.telephony.simulation import CallScenario
from crm.operations.demo import settings as demo
from crm.values.clock import utc_now
from tests.conftest import DATABASE
from tests.e2e.product import Product, send

AVITO_LINE = "78120001102"
MANAGER_EXTENSION = "104"
_numbers = itertools.count(int(secrets.token_hex(2), 16) % 40_000)

# The time at which the card of a call came into the page, by the machine's clock.
WATCH_CALLS = """
window.kvSeen = {};
new MutationObserver(() => {
  for (const node of document.querySelectorAll("[data-call-pop]"))
    window.kvSeen[node.dataset.callPop] ??= Date.now();
}).observe(document, { childList: true, subtree: true });
"""


@pytest.fixture(scope="module")
def own_database() -> Iterator[str | None]:
    """Address of a fresh PostgreSQL database; None means the product's own SQLite."""
    if DATABASE == "sqlite":
        yield None
        return
    server = make_url(os.environ["TEST_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    name = f"kvartal_e2e_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="module")
def product(
    own_database: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The running product with its demo agency; nothing of it may outlive its end."""
    made = Product(tmp_path_factory.mktemp("product") / "instance", own_database)
    try:
        print(f"\nstart with an empty folder: {made.start():.1f} s")
        yield made
    finally:
        left = made.stop()
    assert left == [], "processes were left behind"


# --- the operator and the site --------------------------------------------------------------------


class Outside:
    """Mango Office and the agency's site, as they knock at the product's doors."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.operator: TelephonyOperator = operators.get("mango")(
            product.connection_id(),
            {"api_key": demo.DEMO_KEY, "api_salt": demo.DEMO_SALT},
            GuardedClient(),
            webhook_token=demo.TELEPHONY_TOKEN,
        )
        self.channel = channels.get("site_form")
        self.point = IntakeSettings(
            id=1, key=demo.INTAKE_KEY, secret=demo.INTAKE_SECRET, uses_snippet=False
        )

    def call(self, number: str, *, answered: bool = True, **options: Any) -> list[Any]:
        """The requests of a whole call, not sent yet."""
        scenario = CallScenario(
            call_key=secrets.token_hex(6),
            client_number=number,
            line_number=options.pop("line", AVITO_LINE),
            extension=options.pop("extension", MANAGER_EXTENSION),
            started_at=utc_now() - dt.timedelta(seconds=3),
            answered=answered,
            recorded=False,
            menu=dt.timedelta(seconds=1),
            ringing=dt.timedelta(seconds=1),
            talk=dt.timedelta(seconds=20),
        )
        return self.operator.simulate(scenario)

    def lead(self, number: str) -> Any:
        """A signed request of the site, not sent yet."""
        page = "https://novy-adres.example.ru/flat/17"
        scenario = LeadScenario(phone=f"+{number}", email="", page_url=page)
        return self.channel.simulate(scenario, self.point, utc_now())

    def send_call(self, message: Any) -> requests.Response:
        return send(self.product.base, message, f"/telephony/mango/{demo.TELEPHONY_TOKEN}")

    def send_lead(self, message: Any) -> requests.Response:
        return send(self.product.base, message, "/api/v1/intake")


@pytest.fixture(scope="module")
def outside(product: Product) -> Outside:
    return Outside(product)


@pytest.fixture(scope="module")
def new_number() -> Callable[[], str]:
    """Digits of an invented number that nobody here has called from."""
    return lambda: f"7931{next(_numbers):07d}"


# --- the browser ----------------------------------------------------------------------------------


class Desk:
    """Browsers of signed-in people; what goes wrong in a page is kept."""

    def __init__(self, chromium: Any, product: Product) -> None:
        self._chromium, self._product = chromium, product
        self._contexts: list[Any] = []
        self.problems: list[str] = []

    def page(self, width: int = 1440, height: int = 900) -> Any:
        """An empty page of a browser that knows nobody yet."""
        context = self._chromium.new_context(
            locale="ru-RU", viewport={"width": width, "height": height}
        )
        self._contexts.append(context)
        context.add_init_script(WATCH_CALLS)
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._note)
        return page

    def sign_in(self, name: str, width: int = 1440, height: int = 900) -> Any:
        """A page of the demo person, signed in by one press at the login page."""
        page = self.page(width, height)
        page.goto(f"{self._product.base}/login/")
        page.locator("[data-fill]", has_text=name).click()
        page.locator("body:not([data-user-id=''])[data-user-id]").wait_for()
        return page

    def forgive(self, address: str, status: int) -> None:
        """The console notes every refused request; this one was refused as it should be."""
        mark = f"status of {status} "
        self.problems = [p for p in self.problems if not (mark in p and p.endswith(address))]

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _note(self, message: Any) -> None:
        where = message.location.get("url", "")
        if message.type == "error":
            self.problems.append(f"console: {message.text} {where}")


@pytest.fixture
def desk(chromium: Any, product: Product) -> Iterator[Desk]:
    """Signs people in; an error in any of their consoles fails the test."""
    made = Desk(chromium, product)
    yield made
    made.close()
    assert made.problems == []
