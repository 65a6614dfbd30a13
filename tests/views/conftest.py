"""For tests of pages: every request starts with nothing remembered, as in a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import g, request_started


@pytest.fixture(autouse=True)
def fresh_g() -> Iterator[None]:
    """The suite's open application context would carry the last visitor into the next request."""

    def forget(_app: Any, **_extra: Any) -> None:
        vars(g).clear()

    request_started.connect(forget)
    yield
    request_started.disconnect(forget)
