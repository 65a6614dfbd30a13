"""Settings made from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

import config


@pytest.mark.parametrize("address", ["", "postgresql://nobody@127.0.0.1/none"])
def test_a_failed_statement_tells_no_values(tmp_path: Path, address: str) -> None:
    """Errors of the database go to logs: phones and hashes of passwords must not."""
    made = config.load({"INSTANCE_DIR": str(tmp_path), "DATABASE_URL": address})
    assert made["SQLALCHEMY_ENGINE_OPTIONS"]["hide_parameters"] is True


def test_the_values_are_really_left_out(tmp_path: Path) -> None:
    made = config.load({"INSTANCE_DIR": str(tmp_path)})
    engine = create_engine(made["SQLALCHEMY_DATABASE_URI"], **made["SQLALCHEMY_ENGINE_OPTIONS"])
    with engine.connect() as connection, pytest.raises(DBAPIError) as failed:
        connection.execute(text("INSERT INTO nowhere VALUES (:phone)"), {"phone": "+79995550177"})
    engine.dispose()
    assert "79995550177" not in str(failed.value)
