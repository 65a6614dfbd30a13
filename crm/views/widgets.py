"""Field widgets."""

from __future__ import annotations


def install_widgets() -> None:
    """Nothing yet."""
