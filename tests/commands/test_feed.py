"""Feeds from the shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from crm.commands.feed import feed as command
from crm.models import Listing, db
from tests.operations import feed_ground as ground


def run(app: Flask, *arguments: Any) -> Any:
    return app.test_cli_runner().invoke(command, [str(part) for part in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "partner.xml"
    offers = ground.flats(3)
    content = ground.written(offers).replace(b"12500000", b"0", 1)
    path.write_bytes(content)
    return path


def test_a_file_is_taken_in_and_accounted_for(app: Flask, file: Path) -> None:
    first = run(app, "import", file, "--json")
    assert first.exit_code == 0, first.output
    report = json.loads(first.output)
    assert (report["imported"], report["updated"], report["unchanged"]) == (2, 0, 0)
    assert report["refused"] == 1
    assert report["reasons"] == [
        {"position": 1, "internal_id": "A-0", "reasons": ["Цена не больше нуля"]}
    ]
    second = json.loads(run(app, "import", file, "--json").output)
    assert (second["imported"], second["unchanged"], second["refused"]) == (0, 2, 1)


def test_a_dry_run_takes_nothing_in(app: Flask, file: Path) -> None:
    done = run(app, "import", file, "--dry-run", "--name", "Проба")
    assert done.exit_code == 0, done.output
    assert "новых: 2" in done.output
    assert "Цена не больше нуля" in done.output
    assert db.session.scalar(select(func.count()).select_from(Listing)) == 0


def test_what_is_no_feed_ends_with_an_error(app: Flask, tmp_path: Path) -> None:
    assert run(app, "import", tmp_path / "none.xml").exit_code == 1
    garbage = tmp_path / "garbage.xml"
    garbage.write_bytes(b"<Ads/>")
    done = run(app, "import", garbage)
    assert done.exit_code == 1
    assert "Авито" in done.output


def test_a_feed_is_built_by_name_or_number(app: Flask, file: Path, tmp_path: Path) -> None:
    ground.company()
    assert run(app, "import", file, "--state", "active").exit_code == 0
    made = ground.feed("Для Яндекса")
    out = tmp_path / "out.xml"
    done = run(app, "build", "Для Яндекса", "--json", "-o", out)
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert (report["offers"], report["refused"], report["state"]) == (2, 0, "done")
    assert out.read_bytes().count(b"<offer ") == 2
    assert json.loads(run(app, "build", made.id, "--json").output)["unchanged"] is True
    assert run(app, "build", "Нет такого").exit_code == 1


def test_all_feeds_are_built_and_a_failure_is_told(app: Flask) -> None:
    ground.company(ogrn_name="")
    ground.feed("Один")
    ground.feed("Два")
    assert run(app, "build").exit_code == 1
    done = run(app, "build", "--all")
    assert done.exit_code == 1
    assert done.output.count("ОГРН") == 2
