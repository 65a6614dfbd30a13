"""Brings an installation to this release: schema, permissions, default data."""

from __future__ import annotations

from pathlib import Path

from flask_migrate import upgrade as upgrade_schema

from crm.operations.install import install_defaults
from crm.operations.permissions import synchronise

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def upgrade() -> int:
    """Idempotent; returns how many permissions exist."""
    upgrade_schema(directory=str(MIGRATIONS))
    install_defaults()
    return synchronise()
