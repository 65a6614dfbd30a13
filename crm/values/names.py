"""What names of people tell."""

from __future__ import annotations

_FEMALE = ("ова", "ева", "ёва", "ина", "ына", "ая")
_MALE = ("ов", "ев", "ёв", "ин", "ын", "ий", "ой", "ый")


def is_female(last_name: str | None) -> bool | None:
    """Whether a Russian surname is a woman's; None for those that are alike (Ткаченко, Шмидт)."""
    name = (last_name or "").strip().lower().rpartition("-")[2]
    if name.endswith(_FEMALE):
        return True
    return False if name.endswith(_MALE) else None
