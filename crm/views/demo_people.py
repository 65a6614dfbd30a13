"""Demonstration people offered at the login page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import current_app

from crm.operations import demo

SECONDS = 60.0
_KEY = "demo_people"


class DemoPeople:
    """Login, name, role and password of the demo people, asked for only when a page shows them.

    Empty without ``DEMO_MODE`` and without a loaded demonstration: passwords that everybody
    knows are shown by the owner's choice alone.
    """

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self._people())

    def __len__(self) -> int:
        return len(self._people())

    def _people(self) -> list[dict[str, str]]:
        if not current_app.config["DEMO_MODE"]:
            return []
        kept: tuple[float, list[dict[str, str]]] | None = current_app.extensions.get(_KEY)
        if kept is None or kept[0] <= time.monotonic():
            kept = current_app.extensions[_KEY] = (time.monotonic() + SECONDS, demo.logins())
        return kept[1]


def forget(app: Any) -> None:
    """Read the people anew at the next page."""
    app.extensions.pop(_KEY, None)
