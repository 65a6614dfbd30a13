"""Texts of the templates: found once, when a template is compiled for a language.

A page shows some 300 texts. Each of them as a call costs more than the rest of its element, so
every language has compiled templates of its own that hold their texts already.
"""

from __future__ import annotations

import re
from typing import Any

from flask import g, has_request_context
from flask.templating import Environment
from flask_babel import get_locale, get_translations
from jinja2 import nodes
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

_NAMES = frozenset({"_", "gettext"})
_PLACE = re.compile(r"%\((\w+)\)s")


def language() -> str:
    """Code of the language of this request; Russian outside of one."""
    if not has_request_context():
        return _code()
    if "language" not in g:  # asked for each moment, day and sum
        g.language = _code()
    return str(g.language)


def _code() -> str:
    return str(get_locale() or "ru")


def translate(text: str, /, **values: Any) -> Markup:
    """Translated ``text`` for a template; values are escaped, the text itself is ours."""
    found = Markup(_catalogue().ugettext(text))  # noqa: S704  (our catalogue)
    return found % values if values else found


def translate_plural(one: str, many: str, /, num: int, **values: Any) -> Markup:
    """Plural form of a text for ``num``."""
    values.setdefault("num", num)
    return Markup(_catalogue().ungettext(one, many, num)) % values  # noqa: S704


def _catalogue() -> Any:
    """The request's messages, found once; a switch of the language is a new request."""
    if "catalogue" not in g:
        g.catalogue = get_translations()
    return g.catalogue


class LanguageEnvironment(Environment):
    """Jinja's environment with compiled templates for each language."""

    # There are only so many templates: none has to be thrown out.
    _caches: dict[str, dict[Any, Any]]

    @property  # type: ignore[override]
    def cache(self) -> dict[Any, Any]:
        """Compiled templates of the present language."""
        return self._caches.setdefault(language(), {})

    @cache.setter
    def cache(self, _empty: object) -> None:
        """Jinja sets an empty cache when the environment is made."""
        self._caches = {}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        escapes = self.autoescape(name) if callable(self.autoescape) else self.autoescape
        if escapes:
            _Texts(get_translations()).visit(tree)
        return tree


class _Texts(NodeTransformer):
    """Puts the translation in place of ``_('text')`` and ``_('text %(name)s', name=value)``."""

    def __init__(self, catalogue: Any) -> None:
        self._catalogue = catalogue

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802  (Jinja's name)
        """Pieces shown one after another need not be joined before."""
        self.generic_visit(node)
        node.nodes = [part for child in node.nodes for part in _pieces(child)]
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802  (Jinja's name)
        """The text, or the call itself where only a request can tell."""
        self.generic_visit(node)
        msgid = _constant_text(node)
        if msgid is None:
            return node
        text = self._catalogue.ugettext(msgid)
        if not node.kwargs:
            return nodes.Const(Markup(text), lineno=node.lineno)  # noqa: S704  (our catalogue)
        return _filled_in(text, node) or node


def _pieces(node: nodes.Expr) -> list[nodes.Expr]:
    return node.nodes if isinstance(node, nodes.Concat) else [node]


def _constant_text(node: nodes.Call) -> str | None:
    """The message of a call for a translation; None for any other call."""
    if not isinstance(node.node, nodes.Name) or node.node.name not in _NAMES:
        return None
    if node.dyn_args or node.dyn_kwargs or len(node.args) != 1:
        return None
    message = node.args[0]
    return str(message.value) if isinstance(message, nodes.Const) else None


def _filled_in(text: str, node: nodes.Call) -> nodes.Node | None:
    """The text's pieces and values in a row; None when its places are not that plain."""
    values = {pair.key: pair.value for pair in node.kwargs}
    pieces = _PLACE.split(text)
    if any("%" in piece for piece in pieces[::2]) or not values.keys() >= set(pieces[1::2]):
        return None
    parts: list[nodes.Expr] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            parts.append(values[piece])
        elif piece:
            parts.append(nodes.Const(Markup(piece), lineno=node.lineno))  # noqa: S704
    return nodes.Concat(parts, lineno=node.lineno)
