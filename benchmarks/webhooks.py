"""Acknowledging a webhook against a bare Flask view that inserts one row, in the same run."""

from __future__ import annotations

import itertools
import os
from typing import Any

from flask import Flask, request
from sqlalchemy import insert

from benchmarks.ground import application, line, paired

BATCH = 50


def main() -> None:
    """Print seconds and acknowledgements per second of both."""
    with application(os.environ.get("BENCH_DATABASE_URL")) as app:
        from crm.models import db

        path, body_of = _connection()
        ours = app.test_client()
        bare = _bare_app().test_client()
        numbers = itertools.count()

        def post(client: Any, address: str) -> None:
            for _ in range(BATCH):
                answer = client.post(address, data=body_of(next(numbers)))
                if answer.status_code >= 300:
                    raise SystemExit(f"{address}: {answer.status_code}")

        print(f"\nWebhooks, {db.engine.dialect.name}: {BATCH} acknowledgements, ours, bare, ratio")
        fast, slow = paired(lambda: post(ours, path), lambda: post(bare, "/one-row"))
        rate, bare_rate = BATCH / fast, BATCH / slow
        line("mango events/call", fast, slow, f"{rate:.0f}/s of {bare_rate:.0f}/s")


def _connection() -> tuple[str, Any]:
    """A Mango connection and a maker of correctly signed bodies."""
    import hashlib
    import json

    from crm.models import TelephonyConnection, db

    key, salt = "k" * 32, "s" * 32
    db.session.add(
        TelephonyConnection(
            name="Замер",
            operator="mango",
            token="t" * 43,
            credentials={"api_key": key, "api_salt": salt},
        )
    )
    db.session.commit()

    def body(number: int) -> dict[str, str]:
        text = json.dumps(
            {
                "entry_id": f"call-{number}",
                "call_id": f"leg-{number}",
                "timestamp": 1767258000,
                "seq": 1,
                "call_state": "Appeared",
                "location": "ivr",
                "from": {"number": "79001112233"},
                "to": {"number": "74950001122", "line_number": "74950001122"},
            }
        )
        sign = hashlib.sha256((key + text + salt).encode()).hexdigest()
        return {"vpbx_api_key": key, "sign": sign, "json": text}

    return f"/telephony/mango/{'t' * 43}/events/call", body


def _bare_app() -> Flask:
    """Flask, one row in the same table, nothing else."""
    from crm.models import InboundDelivery, db

    bare = Flask("bare")
    engine = db.engine
    counter = itertools.count()

    @bare.post("/one-row")
    def one_row() -> str:
        with engine.begin() as connection:
            connection.execute(
                insert(InboundDelivery).values(
                    door="bare",
                    family="bare",
                    adapter="bare",
                    dedup_key=str(next(counter)),
                    body=request.get_data(),
                )
            )
        return "ok"

    return bare


if __name__ == "__main__":
    main()
