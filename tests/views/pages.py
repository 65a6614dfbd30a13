"""What the tests of pages share: requests that know nothing of each other."""

from __future__ import annotations

from typing import Any

import pytest
from flask import g

from crm.models import db
from tests.conftest import SignedClient


@pytest.fixture(autouse=True)
def separate_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite keeps one application context: what a request cached is not for the next."""
    plain = SignedClient.open

    def fresh(client: SignedClient, *args: Any, **kwargs: Any) -> Any:
        for name in list(g):
            g.pop(name)
        db.session.expire_all()
        return plain(client, *args, **kwargs)

    monkeypatch.setattr(SignedClient, "open", fresh)


def shown(page: Any) -> set[int]:
    """Ids of the deals whose cards or lines are in an answer."""
    return {int(part.split('"', 1)[0]) for part in page.text.split('data-deal="')[1:]}
