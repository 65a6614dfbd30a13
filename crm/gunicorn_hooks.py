"""Gunicorn's hooks (https://docs.gunicorn.org/en/stable/settings.html#server-hooks)."""

from __future__ import annotations

import gc


def pre_fork(_server: object, _worker: object) -> None:
    """Keep the collector away from what all forks share, or each would soon own a copy of it."""
    gc.collect()
    gc.freeze()
