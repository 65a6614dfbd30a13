"""Alembic's entry: our metadata, FAB's tables included, on SQLite and PostgreSQL."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import text

migrate = current_app.extensions["migrate"]
database = migrate.db


def run() -> None:
    """Run over one connection; PostgreSQL gives up a lock after 4 s rather than stop the site."""
    given = context.config.attributes.get("connection")
    if given is not None:
        configure(given)
        return
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # A changed table is built anew there: its removal must not take the rows along that
            # point to it. The pragma is heard outside a transaction only.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.commit()
        configure(connection)
        check_references(connection)
        connection.commit()
        connection.invalidate()


def check_references(connection) -> None:  # type: ignore[no-untyped-def]
    """SQLite looked at no reference meanwhile: a row left without the one it needs is an error."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise SystemExit(f"the migration broke references: {broken[:5]}")


def configure(connection) -> None:  # type: ignore[no-untyped-def]
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET lock_timeout = '4s'"))
    context.configure(
        connection=connection, target_metadata=database.metadata, **migrate.configure_args
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("offline migrations are not supported: the data decides")
run()
