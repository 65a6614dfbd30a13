"""All benchmarks, one after another. ``BENCH_DATABASE_URL`` runs pages and webhooks on PostgreSQL.

Ratios against bare baselines of the same run are what counts; milliseconds depend on the machine.
The storm is not among them, it takes half an hour: ``python benchmarks/storm.py --help``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("pages", "webhooks", "feeds_codec", "feeds")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; each in a process of its own."""
    codes = [
        subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, check=False
        ).returncode
        for name in names or MODULES
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
