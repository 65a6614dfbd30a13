"""The whole suite twice: on SQLite, then on PostgreSQL. ``make test ARGS="-k phones"``.

``KVARTAL_TEST_DB`` tells the suite which database it is on; ``TEST_DATABASE_URL`` is the address
of a throw-away PostgreSQL started here when none is given. ``KVARTAL_REQUIRE_ALL=1`` (set by CI)
forbids to leave anything out, so that a missing server or browser is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from crm import embedded  # noqa: E402  (the path must be set first)

PROCESSES = os.environ.get("PYTEST_PROCESSES", "2")
NO_TESTS = 5  # pytest's exit code: nothing was collected


def run(database: str, arguments: list[str], **env: str) -> int:
    """One run of pytest; its exit code."""
    print(f"\n=== {database} ===", flush=True)
    # The groups keep together what shares a running product.
    split = ["-n", PROCESSES, "--dist", "loadgroup"]
    parallel = [] if {"-n", "--pdb", "-s"} & set(arguments) else split
    command = [sys.executable, "-m", "pytest", *parallel, *arguments]
    environment = {**os.environ, "KVARTAL_TEST_DB": database, **env}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    """Run both; 0 only when both passed."""
    wanted = os.environ.get("KVARTAL_TEST_DB")
    codes: dict[str, int] = {}
    if wanted in (None, "", "sqlite"):
        codes["sqlite"] = run("sqlite", arguments)
    if wanted in (None, "", "postgresql"):
        with embedded.postgres(ROOT / ".cache" / "postgres") as url:
            if url is not None:
                codes["postgresql"] = run("postgresql", arguments, TEST_DATABASE_URL=url)
            elif wanted or os.environ.get("KVARTAL_REQUIRE_ALL") == "1":
                print("No PostgreSQL: install it or set TEST_DATABASE_URL", file=sys.stderr)
                codes["postgresql"] = 1
            else:
                print("\nNo PostgreSQL on this machine: its run is left out", flush=True)
    failed = {name: code for name, code in codes.items() if code}
    for name, code in failed.items():
        reason = "no test ran" if code == NO_TESTS else f"pytest's exit code {code}"
        print(f"FAILED on {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
