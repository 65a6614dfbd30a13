from __future__ import annotations

import pytest

from crm.values.names import is_female


@pytest.mark.parametrize(
    ("last_name", "expected"),
    [
        ("Соколова", True),
        ("Ковалёва", True),
        ("Осипова-Белая", True),
        ("Крамская", True),
        ("Поляков", False),
        ("Громов", False),
        ("Никитин", False),
        ("Достоевский", False),
        ("Ткаченко", None),
        ("Шмидт", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_surname_tells(last_name: str | None, expected: bool | None) -> None:
    assert is_female(last_name) is expected
