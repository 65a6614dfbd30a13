"""Board, list, card and search on set S, as an ordinary manager and as the director.

The ratio to the bare page (``benchmarks/bare.py``) says what everything else costs.
"""

from __future__ import annotations

import os
from typing import Any

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from benchmarks import bare, dataset
from benchmarks.ground import analyse, application, line, paired, signed_in, statements

DEALS = int(os.environ.get("BENCH_DEALS", "20000"))


def main() -> None:
    """Print the table for both people."""
    with application(os.environ.get("BENCH_DATABASE_URL")) as app:
        from crm.models import db

        dataset.fill(DEALS)
        _director()
        analyse()
        print(f"\nPages, {DEALS} deals, {db.engine.dialect.name}: ours, bare, ratio, queries, KB")
        pipeline = dataset.default_pipeline()
        for login in ("bench0", "director"):
            print(f"-- {login}")
            client = signed_in(app, login)
            deal = _some_deal()
            for name, path in (
                ("board", f"/board/{pipeline}"),
                ("list", "/deals"),
                ("list, ordered by amount", "/deals?order=amount"),
                ("card", f"/deals/{deal}"),
                ("search by phone", "/search?q=%2B7 900 000-12-34"),
                ("search by name", "/search?q=Лебедева"),
                ("search by number", f"/search?q={deal}"),
            ):
                _measure(client, name, path)


def _measure(client: Any, name: str, path: str) -> None:
    with statements() as sent:
        answer = client.get(path)
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code}")
    plain = bare.client(list(sent), answer.text)
    ours, theirs = paired(lambda: client.get(path), lambda: plain.get("/"))
    line(name, ours, theirs, f"{len(sent):>3} q {len(answer.data) / 1024:>6.0f} KB")


def _director() -> None:
    from crm.models import Employee, db

    role = db.session.scalars(select(Role).where(Role.name == "Директор")).one()
    db.session.add(
        Employee(
            username="director",
            first_name="Ирина",
            last_name="Директорова",
            email="director@example.ru",
            active=True,
            roles=[role],
        )
    )
    db.session.commit()


def _some_deal() -> int:
    from crm.models import Deal, Employee, db

    person = db.session.scalars(select(Employee.id).where(Employee.username == "bench0")).one()
    return db.session.scalars(
        select(Deal.id).where(Deal.responsible_id == person).order_by(Deal.id).limit(1)
    ).one()


if __name__ == "__main__":
    main()
