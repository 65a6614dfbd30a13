"""What the tests of pages share."""

from __future__ import annotations

from typing import Any


def shown(page: Any) -> set[int]:
    """Ids of the deals whose cards or lines are in an answer."""
    return {int(part.split('"', 1)[0]) for part in page.text.split('data-deal="')[1:]}
