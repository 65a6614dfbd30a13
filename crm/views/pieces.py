"""Pieces of HTML that pages show by the hundred: made once, then remembered.

``templates/ui.html`` names them next to its macros, which cost ten times as much.
"""

from __future__ import annotations

from functools import lru_cache

from markupsafe import Markup

from crm.values import formats

_REMEMBERED = 2048
_COLOURS = 6


@lru_cache(_REMEMBERED)
def icon(name: str | None, klass: str = "", label: str | None = None) -> Markup:
    """A Tabler icon by its name without the prefix; names of other icon fonts give nothing."""
    if not name or name.startswith("fa-"):
        return Markup()
    said = (
        Markup(' role="img" aria-label="{0}" title="{0}"').format(label)
        if label
        else Markup(' aria-hidden="true"')
    )
    classes = f"ti ti-{name.removeprefix('ti-')}{' ' if klass else ''}{klass}"
    return Markup('<i class="{}"{}></i>').format(classes, said)


@lru_cache(_REMEMBERED)
def avatar(
    name: str | None, small: bool = False, title: bool = True, src: str | None = None
) -> Markup:
    """A person's initials, or the picture at ``src``, in a circle.

    The colour is the remainder of the sum of the name's bytes: the same person looks the same on
    every page.
    """
    shown = name or "?"
    classes = f"kv-av kv-av-{sum(shown.encode()) % _COLOURS}{' kv-av-s' if small else ''}"
    said = Markup(' title="{}"').format(shown) if title else ""
    inside = Markup('<img src="{}" alt="">').format(src) if src else formats.initials(shown)
    form = Markup('<span class="{}"{} aria-hidden="true">{}</span>')
    return form.format(classes, said, inside)
