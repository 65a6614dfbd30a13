"""Kvartal: a CRM of a real-estate agency. ``create_app`` is where its parts are joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """The whole application; ``overrides`` replace settings read from the environment."""
    from crm.application import build

    return build(overrides or {})
