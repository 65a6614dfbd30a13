"""A real Chromium for tests that look at pages; one for all of them, as its start takes seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from crm.models import Employee, db
from crm.security import sessions

CSRF = "f" * 40
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
_SIZES = {"desk": (1440, 900), "phone": (390, 844)}
# A loaded machine may need longer than the five seconds of the library.
_PATIENCE_MS = 15_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; tests that ask for it are left out where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium here")
    sync_api.expect.set_options(timeout=_PATIENCE_MS)
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def expect(shown: Any) -> Any:
    """What must come true of a part of a page, sooner or later."""
    from playwright import sync_api

    return sync_api.expect(shown)


@contextmanager
def page_of(
    chromium: Any, app: Flask, site: str, person: Employee, size: str = "desk"
) -> Iterator[Any]:
    """A page for ``person``; AssertionError at the end after an error of a script or a server."""
    width, height = _SIZES[size]
    problems: list[str] = []
    context = chromium.new_context(locale="ru-RU", viewport={"width": width, "height": height})
    context.add_cookies([{"name": "kvartal", "value": _cookie(app, person), "url": site}])
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "response", lambda answer: problems.append(answer.url) if answer.status >= 500 else None
    )
    yield page
    context.close()
    assert problems == []


def _cookie(app: Flask, person: Employee) -> str:
    token = sessions.open_session(person.id, hours=1)
    db.session.commit()
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    identity = {"_user_id": f"{person.id}.{token}", "_fresh": True, "csrf_token": CSRF}
    return str(signer.dumps(identity))
