"""What a database is told before a heavy statement of a report."""

from __future__ import annotations

from sqlalchemy import text

from crm.models import db


def no_jit() -> None:
    """Long statements cost PostgreSQL more to compile than it saves: not in this transaction."""
    if db.session.get_bind().dialect.name == "postgresql":
        db.session.execute(text("SET LOCAL jit = off"))
