"""Prepare this checkout for work: environment, packages, the pages' files, translations.

Standard library only. Each step remembers the hash of what it was made from and is skipped
when nothing changed, so that a second start costs a fraction of a second::

    python3 scripts/bootstrap.py          # to run the product
    python3 scripts/bootstrap.py --dev    # and to test and check it
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / ".kvartal.json"
LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
OLDEST_PYTHON = (3, 11)


class BootstrapError(RuntimeError):
    """A step failed; the text says which and what to do."""


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamps() -> dict[str, str]:
    """What the finished steps were made from; nothing when the file is absent or broken."""
    try:
        stamps = json.loads(STAMPS.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _remember(step: str, mark: str) -> None:
    fresh = STAMPS.with_suffix(".new")
    fresh.write_text(json.dumps({**_stamps(), step: mark}, indent=1), encoding="utf-8")
    fresh.replace(STAMPS)


def _run(command: list[str], advice: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BootstrapError(f"{advice}\n$ {' '.join(command)}\n{output}")


def _step(title: str, action: Callable[[], None]) -> None:
    print(f"  {title} …", end="", flush=True)
    started = time.monotonic()
    action()
    print(f" {time.monotonic() - started:.1f} с", flush=True)


def _python_works() -> bool:
    if not PYTHON.exists():
        return False
    probe = [str(PYTHON), "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _make_venv() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    advice = "Python не создал виртуальное окружение (в Debian: apt install python3-venv)"
    _run([sys.executable, "-m", "venv", str(VENV)], advice)


def _install(lock: Path) -> None:
    """Install exactly what the lock names, from wheels, then the project itself, editable."""
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheels = ["--only-binary", ":all:", "--require-hashes", "-r", str(lock)]
    _run([*pip, *wheels], "Пакеты не установились (доступен ли каталог пакетов?)")
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    _run([*pip, *project], "Сам проект не установился")
    # Installers may leave this out; a start from sources alone takes three times as long.
    compiler = [str(PYTHON), "-m", "compileall", "-q", "-j", "0", str(VENV / "lib")]
    subprocess.run(compiler, capture_output=True, check=False)


def packages(dev: bool) -> None:
    """Virtual environment and packages; the lock of developers holds the product's whole."""
    done = _stamps().get("packages", "")
    wants_dev = dev or done.startswith(DEV_LOCK.name)
    lock = DEV_LOCK if wants_dev else LOCK
    mark = f"{lock.name} {_digest([lock, ROOT / 'pyproject.toml'])}"
    if done == mark and PYTHON.exists():
        return
    if not _python_works():
        _step("Виртуальное окружение", _make_venv)
    _step(f"Пакеты из {lock.name}", lambda: _install(lock))
    _remember("packages", mark)


def assets() -> None:
    """Third-party files of the pages under ``static/vendor``."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import assets as vendor

    if not vendor.up_to_date():
        command = [str(PYTHON), str(ROOT / "scripts" / "assets.py")]
        _step(
            "Стили, скрипты и шрифты страниц",
            lambda: _run(command, "Файлы страниц не получены"),
        )


def translations() -> None:
    """Compile the message catalogues."""
    catalogues = sorted(ROOT.glob("translations/*/LC_MESSAGES/*.po"))
    if not catalogues:
        return
    mark = _digest(catalogues)
    compiled = all(path.with_suffix(".mo").exists() for path in catalogues)
    if compiled and _stamps().get("translations") == mark:
        return
    command = [str(PYTHON), str(ROOT / "scripts" / "translations.py"), "compile"]
    _step("Переводы", lambda: _run(command, "Переводы не собрались"))
    _remember("translations", mark)


def main() -> int:
    """Command line; exit code 1 and one clear text when a step fails."""
    parser = argparse.ArgumentParser(description="prepare this checkout for work")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    options = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        print(f"Нужен Python 3.11 или новее, а это {sys.version.split()[0]}", file=sys.stderr)
        return 1
    os.environ.pop("PYTHONHOME", None)
    try:
        packages(options.dev)
        assets()
        translations()
    except BootstrapError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
