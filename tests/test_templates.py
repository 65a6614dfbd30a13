"""Pages keep to the content policy and to the icons and macros that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
ICONS = ROOT / "static" / "vendor" / "icons" / "tabler-icons.min.css"
COMMENT = re.compile(r"\{#.*?#\}", re.S)


def source(path: Path) -> str:
    """Text without Jinja comments."""
    return COMMENT.sub("", path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_a_template_is_sound(path: Path) -> None:
    Environment(autoescape=True, extensions=["jinja2.ext.i18n"]).parse(
        path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_a_template_has_nothing_inline(path: Path) -> None:
    text = source(path)
    # Letters and printed documents are no pages of the site.
    if "letters" in path.parts or "print" in path.parts:
        pytest.skip("not a page of the site")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text), "inline script"
    assert not re.search(r"<style\b", text), "inline style sheet"
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text), "inline handler"
    assert "javascript:" not in text
    styles = re.findall(r"\sstyle=\"([^\"]*)\"", text)
    assert [style for style in styles if not style.startswith("--")] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_a_changing_form_carries_the_token(path: Path) -> None:
    text = source(path)
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", text, re.S | re.I):
        assert "csrf" in form or "hidden_tag" in form, form[:120]


def icons() -> set[str]:
    if not ICONS.is_file():
        pytest.skip("static/vendor is not built: scripts/assets.py")
    return set(re.findall(r"\.ti-([a-z0-9-]+):{1,2}before", ICONS.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*TEMPLATES, *SCRIPTS], ids=name)
def test_an_icon_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = set(re.findall(r"\bicon\(['\"]([a-z0-9-]*[a-z0-9])['\"]", text))
    used |= set(re.findall(r"['\"\s]ti ti-([a-z0-9-]+)[\"'\s]", text))
    assert used - icons() == set()


def test_a_macro_called_exists() -> None:
    ui = source(ROOT / "templates" / "ui.html")
    known = set(re.findall(r"macro (\w+)\(", ui)) | set(re.findall(r"\bpieces\.(\w+)", ui))
    called = {
        (name(path), macro)
        for path in TEMPLATES
        for macro in re.findall(r"\bui\.(\w+)\(", source(path))
    }
    assert {call for call in called if call[1] not in known} == set()


def test_a_script_module_imported_exists() -> None:
    missing = [
        (path.name, target)
        for path in SCRIPTS
        for target in re.findall(r"from \"\./([\w.-]+)\"", path.read_text(encoding="utf-8"))
        if not (path.parent / target).is_file()
    ]
    assert missing == []


# --- what the scripts say ---------------------------------------------------------

# They hold both languages themselves.
BILINGUAL = {"texts.js", "english.js", "calls.js", "calls-page.js", "search.js"}
RUSSIAN_LITERAL = re.compile(r"""(tr\()?(["`])((?:(?!\2).)*[А-Яа-яЁё](?:(?!\2).)*)\2""")


def said_in_russian(path: Path) -> list[tuple[bool, str]]:
    """Russian literals of a script: whether they go through ``tr``, and their text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    code = [re.sub(r"(^|\s)//\s.*$|^\s*/?\*.*$", "", line) for line in lines]
    return [(bool(found[1]), found[3]) for line in code for found in RUSSIAN_LITERAL.finditer(line)]


def test_whatever_the_scripts_say_they_say_in_english_too() -> None:
    pairs = r'^  "(.+)": "(.+)",$'
    english = (ROOT / "static" / "js" / "english.js").read_text(encoding="utf-8")
    known = dict(re.findall(pairs, english, re.M))
    texts = [
        said for path in SCRIPTS if path.name not in BILINGUAL for said in said_in_russian(path)
    ]
    assert [text for translated, text in texts if not translated] == []
    assert {text for _, text in texts} == set(known), "missing in or left over from english.js"
    places = re.compile(r"%\(\w+\)s")
    differ = [
        text for text in known if set(places.findall(text)) != set(places.findall(known[text]))
    ]
    assert differ == []
