"""The arrows of the design hold, and the tool that says so notices a broken one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of ``folder``'s pyproject over ``folder``'s package."""
    return subprocess.run(
        [str(LINTER), "--no-logo", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package in another place, free to be spoiled."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "crm", tmp_path / "crm", ignore=skipped)
    return tmp_path


def test_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("models/spoiled.py", "import crm.operations.spoiled", "Arrows run one way"),
        ("operations/spoiled.py", "import crm.views.spoiled", "Arrows run one way"),
        ("security/spoiled.py", "import crm.operations.spoiled", "Arrows run one way"),
        ("unplaced.py", "import crm.models", "Arrows run one way"),
        ("integrations/spoiled.py", "import sqlalchemy", "Translators know no database"),
        ("integrations/spoiled.py", "import crm.models.spoiled", "Translators know no database"),
        ("models/spoiled.py", "import crm.integrations.spoiled", "Tables and rights know no"),
        ("values/spoiled.py", "import flask", "Values import nothing of ours"),
        ("models/spoiled.py", "import flask", "Tables know no web framework"),
        (
            "integrations/telephony/spoiled.py",
            "import crm.integrations.leads.spoiled",
            "do not know each other",
        ),
    ],
)
def test_a_broken_arrow_is_noticed(copy: Path, module: str, line: str, contract: str) -> None:
    for target in ("operations", "views", "models", "integrations", "integrations/leads"):
        (copy / "crm" / target / "spoiled.py").write_text('"""Target of an import."""\n', "utf-8")
    path = copy / "crm" / module
    path.write_text(f'"""Deliberately wrong."""\n\n{line}\n', "utf-8")
    done = lint(copy)
    report = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, report
    broken = [part for part in report.split("KEPT") if "BROKEN" in part]
    assert any(contract in part for part in broken), report
