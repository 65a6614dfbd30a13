"""Moments as whole seconds in SQL, alike on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class unix_seconds(FunctionElement[int]):  # noqa: N801  read as a function of SQL
    """Seconds since 1970 in UTC, parts of a second cut off."""

    type = BigInteger()
    name = "unix_seconds"
    inherit_cache = True


@compiles(unix_seconds)
def _standard(element: Any, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    # A cast alone would round half a second up, into the next hour or day.
    return f"CAST(FLOOR(EXTRACT(EPOCH FROM {moment})) AS BIGINT)"


@compiles(unix_seconds, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"CAST(strftime('%s', {moment}) AS INTEGER)"
