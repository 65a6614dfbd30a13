"""Texts that are put into templates when these are compiled."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, g, render_template_string
from jinja2 import DictLoader
from markupsafe import Markup

from crm.views import pieces, template_texts

TEXT = "Выбрать: %(name)s"


@pytest.fixture
def shown(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Renders a source in a language, as a template of its own that stays compiled."""
    made = app.create_jinja_environment()
    made.globals.update(app.jinja_env.globals)
    sources: dict[str, str] = {}
    made.loader = DictLoader(sources)

    def render(source: str, code: str = "ru", suffix: str = "html", **values: Any) -> str:
        file = f"{abs(hash(source))}.{suffix}"
        sources[file] = source
        monkeypatch.setattr(app.extensions["babel"], "locale_selector", lambda: code)
        for known in list(g):  # of the request before
            g.pop(known)
        with app.test_request_context():
            return made.get_template(file).render(**values)

    return render


def test_each_language_has_its_own_compiled_template(shown: Any) -> None:
    source = "<b>{{ _('Сделки') }}</b>"
    assert [shown(source, code) for code in ("ru", "en", "ru")] == [
        "<b>Сделки</b>", "<b>Deals</b>", "<b>Сделки</b>",
    ]  # fmt: skip


def test_no_call_is_left_for_a_plain_text(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{{ _('Сделки') }}{{ _('Выбрать: %(name)s', name=1 + 1) }}"
    assert shown(source) == "СделкиВыбрать: 2"

    def refuse(*_args: Any, **_values: Any) -> None:
        pytest.fail("the text was looked up while the page was made")

    monkeypatch.setattr(template_texts, "_catalogue", refuse)
    assert shown(source) == "СделкиВыбрать: 2"


@pytest.mark.parametrize(
    "source",
    [
        "{{ _(text, name=name) }}",
        "{{ _('Выбрать: %(name)s', name=name) }}",
        "{% set said = _('Выбрать: %(name)s', name=name) %}{{ said }}",
        "{{ name and _('Выбрать: %(name)s', name=name) }}",
    ],
)
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("<b>&", "Выбрать: &lt;b&gt;&amp;"),
        (Markup("<i>x</i>"), "Выбрать: <i>x</i>"),
        (17, "Выбрать: 17"),
        ("100 %(name)s", "Выбрать: 100 %(name)s"),
    ],
)
def test_values_are_escaped_as_a_call_escapes_them(
    shown: Any, source: str, name: Any, seen: str
) -> None:
    assert shown(source, text=TEXT, name=name) == seen


def test_texts_with_other_signs_of_per_cent_stay_calls(shown: Any) -> None:
    assert shown("{{ _('до %(n)d %%', n=5) }}") == "до 5 %"
    assert shown("{{ _('100 %') }}") == "100 %"
    with pytest.raises(KeyError):
        shown("{{ _('Выбрать: %(name)s', other=5) }}")


def test_what_is_not_html_is_left_to_the_call(shown: Any) -> None:
    assert shown("{{ _('Сделки') }} {{ 'a' ~ '<b>' }}", "en", "txt") == "Deals a<b>"


def test_a_source_without_a_name_is_translated_too(app: Flask) -> None:
    with app.test_request_context():
        assert render_template_string("{{ _('Сделки') }}") == "Сделки"


# --- pieces ---------------------------------------------------------------------------------------


def test_icon_is_escaped_and_has_a_name_when_it_says_something() -> None:
    assert pieces.icon("phone") == '<i class="ti ti-phone" aria-hidden="true"></i>'
    assert pieces.icon("ti-phone", "big") == '<i class="ti ti-phone big" aria-hidden="true"></i>'
    assert pieces.icon(None) == pieces.icon("") == pieces.icon("fa-phone") == ""
    assert pieces.icon("x", "", '"<b>') == (
        '<i class="ti ti-x" role="img" aria-label="&#34;&lt;b&gt;" title="&#34;&lt;b&gt;"></i>'
    )


def test_avatar_shows_initials_in_the_colour_of_the_name() -> None:
    assert pieces.avatar("Ольга Соколова", True) == (
        '<span class="kv-av kv-av-1 kv-av-s" title="Ольга Соколова" aria-hidden="true">ОС</span>'
    )
    assert pieces.avatar("<b>", title=False).endswith('aria-hidden="true">?</span>')
    assert pieces.avatar("", src="/a&b").count('<img src="/a&amp;b" alt="">') == 1
