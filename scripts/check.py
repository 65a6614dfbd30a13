"""Everything that is checked without running the product: ``make check``.

``make check ARGS="types layers"`` runs only the named checks. All of them run even when one has
failed; the exit code tells whether any did.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FILE_LINES = 500
FUNCTION_LINES = 60
CODE = ("crm", "scripts", "benchmarks", "tests", "migrations")
MEASURED = ("crm", "scripts")
# A comment with one of these says that the work is not done.
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|placeholder|stub)s?\b", re.IGNORECASE)
_LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-node.lock")


def _tool(*command: str) -> str:
    """Output of a failed tool of the environment; the empty text when it is content."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or "failed"


def _sources(folders: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield from sorted(ROOT.glob("*.py"))


def formatted() -> str:
    """The one format."""
    return _tool("ruff", "format", "--check", "--quiet", ".")


def lint() -> str:
    """Rules of pyproject.toml."""
    return _tool("ruff", "check", "--quiet", "--output-format", "concise", ".")


def types() -> str:
    """Strict types."""
    return _tool("mypy", "--no-error-summary")


def layers() -> str:
    """The arrows between the parts."""
    return _tool("lint-imports", "--no-logo", "--no-cache")


def translations() -> str:
    """Every message has its words in both languages."""
    return _tool(Path(sys.executable).name, str(ROOT / "scripts" / "translations.py"), "check")


def sizes() -> str:
    """Short files and functions."""
    return "\n".join(_long())


def _long() -> Iterator[str]:
    for path in _sources(MEASURED):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        if (lines := text.count("\n")) > FILE_LINES:
            yield f"{name}: {lines} lines, at most {FILE_LINES}"
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            yield f"{name}:{error.lineno}: {error.msg}"
            continue
        yield from (f"{name}:{fault}" for fault in _long_functions(tree))


def _long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {length} lines"


def words() -> str:
    """No comment promises work for later."""
    return "\n".join(_unfinished())


def _unfinished() -> Iterator[str]:
    for path in _sources(CODE):
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and _UNFINISHED.search(token.string):
                    yield f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"


def locks() -> str:
    """The lock files hold hashes and no address, so that any mirror serves them."""
    faults = [
        f"{name} holds an address"
        for name in _LOCKS
        if "://" in (ROOT / name).read_text(encoding="utf-8")
    ]
    if '"resolved"' in (ROOT / "package-lock.json").read_text(encoding="utf-8"):
        faults.append("package-lock.json holds an address (see .npmrc)")
    return "\n".join(faults)


def migrations() -> str:
    """The migrations make exactly the tables of the models, and one line of history."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "INSTANCE_DIR": folder, "DATABASE_URL": ""}
        done = subprocess.run(
            [sys.executable, "-c", _MIGRATIONS],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-3000:] or "failed"


_MIGRATIONS = """
import logging
from alembic.script import ScriptDirectory
from flask_migrate import Migrate, check, upgrade
from crm import create_app

app = create_app()
with app.app_context():
    directory = app.extensions["migrate"].directory
    heads = ScriptDirectory(directory).get_heads()
    assert len(heads) == 1, f"several heads: {heads}"
    upgrade(directory=directory)
    logging.disable(logging.NOTSET)
    check(directory=directory)
"""

CHECKS: dict[str, Callable[[], str]] = {
    "format": formatted,
    "lint": lint,
    "types": types,
    "layers": layers,
    "translations": translations,
    "migrations": migrations,
    "sizes": sizes,
    "words": words,
    "locks": locks,
}


def main(names: list[str]) -> int:
    """Run the named checks, or all; 1 when any found something."""
    unknown = set(names) - set(CHECKS)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or CHECKS:
        started = time.monotonic()
        fault = CHECKS[name]()
        print(f"{'FAIL' if fault else 'ok  '} {name:<13} {time.monotonic() - started:5.1f} s")
        if fault:
            failed.append(name)
            print(f"{fault}\n", file=sys.stderr, flush=True)
        sys.stdout.flush()
    if failed:
        print(f"check failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
