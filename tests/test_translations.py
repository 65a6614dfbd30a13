"""The catalogues' tool sees what is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = '''"""Messages."""
from flask_babel import gettext as _
from flask_babel import ngettext
A = _("Доска")
B = _("Привет, %(name)s", name="Аня")
C = ngettext("%(num)s сделка", "%(num)s сделки", 3)
'''


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool over a small project of its own with up-to-date catalogues."""
    spec = importlib.util.spec_from_file_location(
        "translations_tool", ROOT / "scripts" / "translations.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (tmp_path / "crm").mkdir()
    (tmp_path / "crm" / "page.py").write_text(CODE, "utf-8")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text("<p>{{ _('Задачи') }}</p>", "utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "TRANSLATIONS", tmp_path / "translations")
    monkeypatch.setattr(module.extract, "__defaults__", (tmp_path,))
    module.update()
    return module


def faults(tool: ModuleType, language: str) -> set[tuple[str, str]]:
    framework = "a text of the framework has no words"
    return {
        (p.msgid, p.text) for p in tool.problems() if p.language == language and p.text != framework
    }


def say(tool: ModuleType, language: str, old: str, new: str) -> None:
    path = tool.path_of(language)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_russian_says_itself_and_english_waits_for_a_person(tool: ModuleType) -> None:
    assert faults(tool, "ru") == {("%(num)s сделка", "empty")}
    texts = {"Доска", "Задачи", "Привет, %(name)s", "%(num)s сделка"}
    assert faults(tool, "en") == {(text, "empty") for text in texts}


def test_words_of_a_person_are_accepted_and_kept(tool: ModuleType) -> None:
    say(tool, "en", 'msgid "Доска"\nmsgstr ""', 'msgid "Доска"\nmsgstr "Board"')
    tool.update()
    assert ("Доска", "empty") not in faults(tool, "en")


def test_a_foreign_variable_is_noticed(tool: ModuleType) -> None:
    old = 'msgid "Привет, %(name)s"\nmsgstr ""'
    say(tool, "en", old, old.replace('msgstr ""', 'msgstr "Hello, %(nam)s"'))
    fault = "a variable that the code does not give"
    assert ("Привет, %(name)s", fault) in faults(tool, "en")


def test_russian_left_in_the_english_is_noticed(tool: ModuleType) -> None:
    say(tool, "en", 'msgid "Доска"\nmsgstr ""', 'msgid "Доска"\nmsgstr "Доска"')
    assert ("Доска", "Russian letters in the English") in faults(tool, "en")


def test_a_new_message_is_missed(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "crm" / "more.py").write_text('X = _("Звонки")\n', "utf-8")
    assert ("Звонки", "not in the catalogue (run update)") in faults(tool, "ru")


def test_a_message_that_is_gone_leaves_the_catalogue(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "templates" / "page.html").unlink()
    tool.update()
    assert "Задачи" not in tool.path_of("ru").read_text("utf-8")


def test_compiled_words_are_what_people_see(tool: ModuleType) -> None:
    import gettext

    say(tool, "en", 'msgid "Доска"\nmsgstr ""', 'msgid "Доска"\nmsgstr "Board"')
    tool.compile_all()
    words = gettext.translation("messages", str(tool.TRANSLATIONS), ["en"])
    assert words.gettext("Доска") == "Board"
