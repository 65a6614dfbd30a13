"""What seldom changes and every event asks for, remembered by the process for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar, cast

from flask import current_app

T = TypeVar("T")
# A changed setting takes effect within this time.
SECONDS = 5.0
_MOST = 500


def kept(name: str, find: Callable[[], T]) -> T:
    """What ``find`` has found lately, plain values only: rows belong to their session."""
    if current_app.testing:
        # Tests change settings and look at once.
        return find()
    known: dict[str, tuple[float, object]] = current_app.extensions.setdefault("memory", {})
    entry = known.get(name)
    if entry is None or entry[0] <= time.monotonic():
        if len(known) >= _MOST:
            known.clear()
        entry = known[name] = (time.monotonic() + SECONDS, find())
    return cast("T", entry[1])
