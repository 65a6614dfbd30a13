"""Locks by a text key, held until the end of the running transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import text

from crm.models import db

# One after another, in the order of the list.
_TAKE = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")


def hold(kind: str, keys: Iterable[str]) -> None:
    """Wait until nobody else works with any of ``keys``, then keep them.

    Keys are taken in one order, so that two who want the same ones cannot wait for each other.
    SQLite has one writer: there the whole database is the lock.
    """
    wanted = sorted(set(keys))
    if not wanted:
        return
    if db.session.get_bind().dialect.name != "postgresql":
        _become_writer()
        return
    db.session.execute(_TAKE, {"keys": [_number(f"{kind}:{key}") for key in wanted]})


def _become_writer() -> None:
    connection = db.session.connection()
    driver = connection.connection.driver_connection
    # Inside a transaction the driver has written already, so the writer's lock is ours.
    if driver is not None and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
