"""Numbers of listings at the portals."""

from __future__ import annotations

import secrets


def new_public_id() -> str:
    """Number of a listing at every portal, never used before."""
    return f"kv-{secrets.token_hex(6)}"
