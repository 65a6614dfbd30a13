"""Message catalogues: ``translations.py extract|update|check|compile``.

The msgids of this project are Russian text, so ``translations/ru`` says them unchanged (only
plural forms need a person) and ``translations/en`` holds the English. Flask-AppBuilder's msgids
are English: ``translations/ru`` overrides them with our words.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
TRANSLATIONS = ROOT / "translations"
LANGUAGES = ("ru", "en")
RUSSIAN_FORMS = 3
FOLDERS = ("crm", "templates")
# The portals' part is pure and marks no texts: its labels are asked for by name.
VOCABULARY = Path("crm") / "integrations" / "portals" / "vocabulary.py"
METHODS = [("**.py", "python"), ("**.html", "jinja2"), ("**.txt", "jinja2")]
KEYWORDS = {
    **dict.fromkeys(("_", "_l", "gettext", "lazy_gettext"), None),
    **dict.fromkeys(("ngettext", "lazy_ngettext", "_n"), (1, 2)),
}
_VARIABLE = re.compile(r"%\((\w+)\)[sdif]|\{(\w+)\}")
_CYRILLIC = re.compile("[А-Яа-яЁё]")


@dataclass(frozen=True)
class Problem:
    """One thing a person must mend in a catalogue."""

    language: str
    msgid: str
    text: str

    def __str__(self) -> str:
        return f"{self.language}: {self.text}: {self.msgid!r}"


def path_of(language: str) -> Path:
    """The catalogue of a language."""
    return TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"


def load(language: str) -> Catalog:
    """The catalogue as it is; an empty one when there is none yet."""
    path = path_of(language)
    if not path.exists():
        return Catalog(locale=language, domain="messages", fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language, domain="messages")


def extract(root: Path = ROOT) -> Catalog:
    """All messages of our code and templates."""
    template = Catalog(domain="messages", fuzzy=False)
    for folder in FOLDERS:
        if (root / folder).is_dir():
            _extract_into(template, root / folder, folder)
    if (root / VOCABULARY).is_file():
        for label in listing_labels():
            template.add(label, None, [(VOCABULARY.as_posix(), 0)])
    return template


def listing_labels() -> list[str]:
    """Names, units and words of a listing's fields, from the catalogue that forms are made of."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from crm.integrations.portals import vocabulary
    from crm.integrations.portals.base import FIELDS

    terms = (kind for kind in vars(vocabulary).values() if isinstance(kind, type))
    words = [word for kind in terms if issubclass(kind, vocabulary.Term) for word in kind]
    labels = [
        text for spec in FIELDS.values() for text in (spec.label, spec.group.label, spec.unit)
    ]
    return [text for text in dict.fromkeys(labels + [word.label for word in words]) if text]


def _extract_into(template: Catalog, folder: Path, name: str) -> None:
    options = {"**.html": {"silent": "false"}, "**.txt": {"silent": "false"}}
    found = extract_from_dir(folder, METHODS, options, KEYWORDS, strip_comment_tags=True)
    for file, _line, message, _comments, context in found:
        # Without line numbers a change elsewhere leaves the catalogue alone.
        template.add(message, None, [(f"{name}/{file}", 0)], context=context)


def framework() -> Catalog:
    """Flask-AppBuilder's messages with its own Russian words, fuzzy ones emptied.

    Its catalogue lacks some of the texts it shows, so its sources are read as well.
    """
    spec = importlib.util.find_spec("flask_appbuilder")
    if spec is None or spec.origin is None:
        raise SystemExit("Flask-AppBuilder is not installed")
    package = Path(spec.origin).parent
    with (package / "translations" / "ru" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale="ru")
    for message in messages(catalogue):
        if message.fuzzy:
            message.string = ""
            message.flags.discard("fuzzy")
    shown = Catalog(domain="messages", fuzzy=False)
    for folder in ("templates", "security", "models"):
        if (package / folder).is_dir():
            _extract_into(shown, package / folder, folder)
    for message in messages(shown):
        if catalogue.get(message.id) is None:
            catalogue.add(message.id, None)
    return catalogue


def messages(catalogue: Catalog) -> Iterator[Message]:
    """All but the header."""
    return (message for message in catalogue if message.id)


def _first(message: Message) -> str:
    return message.id[0] if isinstance(message.id, (list, tuple)) else message.id


def _forms(message: Message) -> list[str]:
    strings = message.string
    return list(strings) if isinstance(strings, (list, tuple)) else [strings or ""]


# --- update -----------------------------------------------------------------------------------


def update() -> None:
    """Bring both catalogues up to date with the code; what a person wrote is kept."""
    ours = extract()
    for language in LANGUAGES:
        catalogue = load(language)
        catalogue.update(_wanted(ours, language), no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        _plain_header(catalogue)
        if language == "ru":
            _fill_russian(catalogue)
        path = path_of(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalogue, width=100, no_location=True, sort_output=True)


def _plain_header(catalogue: Catalog) -> None:
    """Without names and dates, which would differ at each run and with each hand."""
    catalogue.header_comment = "# Kvartal: see scripts/translations.py"
    catalogue.project, catalogue.version = "Kvartal", "1"
    catalogue.msgid_bugs_address = catalogue.last_translator = ""
    catalogue.language_team = "Kvartal contributors"
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1, tzinfo=UTC)


def _wanted(ours: Catalog, language: str) -> Catalog:
    wanted = Catalog(domain="messages", fuzzy=False)
    sources = [ours, framework()] if language == "ru" else [ours]
    for source in sources:
        for message in messages(source):
            wanted.add(message.id, None, context=message.context, flags=message.flags)
    return wanted


def _fill_russian(catalogue: Catalog) -> None:
    words = {_first(message): message.string for message in messages(framework())}
    for message in messages(catalogue):
        if any(_forms(message)) or message.pluralizable:
            continue
        text = _first(message)
        # Names such as Telegram are ours and need no other words.
        is_ours = _CYRILLIC.search(text) or text not in words
        message.string = message.id if is_ours else words[text]


# --- check ------------------------------------------------------------------------------------


def problems() -> list[Problem]:
    """What is missing, empty, fuzzy or has the wrong number of forms or other variables."""
    ours = extract()
    found = [*_language_problems(ours, "en"), *_language_problems(ours, "ru")]
    russian = load("ru")
    for message in messages(framework()):
        entry = russian.get(message.id)
        if entry is None or not all(_forms(entry)):
            found.append(Problem("ru", _first(message), "a text of the framework has no words"))
    return found


def _language_problems(ours: Catalog, language: str) -> Iterator[Problem]:
    catalogue = load(language)
    for message in messages(ours):
        text = _first(message)
        entry = catalogue.get(message.id, message.context)
        if entry is None:
            yield Problem(language, text, "not in the catalogue (run update)")
            continue
        yield from (Problem(language, text, fault) for fault in _faults(message, entry, language))


def _faults(message: Message, entry: Message, language: str) -> Iterator[str]:
    forms = _forms(entry)
    if not all(forms):
        yield "empty"
        return
    if entry.fuzzy:
        yield "fuzzy"
    if message.pluralizable and language == "ru" and len(forms) != RUSSIAN_FORMS:
        yield f"{len(forms)} plural forms, Russian has {RUSSIAN_FORMS}"
    if language == "en" and any(map(_CYRILLIC.search, forms)):
        yield "Russian letters in the English"
    if any(_variables(form) - _variables(_first(message)) for form in forms):
        yield "a variable that the code does not give"


def _variables(text: str) -> set[str]:
    return {name for pair in _VARIABLE.findall(text) for name in pair if name}


# --- compile ----------------------------------------------------------------------------------


def compile_all() -> None:
    """Write the ``.mo`` beside each catalogue; fuzzy entries are left out."""
    for path in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, locale=path.parts[-3])
        fresh = path.with_suffix(".mo.new")
        with fresh.open("wb") as file:
            write_mo(file, catalogue)
        fresh.replace(path.with_suffix(".mo"))


def main(arguments: list[str]) -> int:
    """Command line; ``check`` exits with 1 and lists what is to be mended."""
    command = arguments[0] if len(arguments) == 1 else ""
    if command == "extract":
        write_po(sys.stdout.buffer, extract(), width=100, sort_output=True)
    elif command == "update":
        update()
    elif command == "compile":
        compile_all()
    elif command == "check":
        found = problems()
        print("\n".join(map(str, found)), file=sys.stderr)
        return 1 if found else 0
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
