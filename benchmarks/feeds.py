"""Feeds through the database against bare lxml and bare SQL: `python -m benchmarks.feeds`.

Export: our build (rows, rules of the portal, file; then check, packing and publishing apart)
against a plain SELECT of the same columns and photos written with `lxml.etree.xmlfile`. Import:
ours against a bare `iterparse` that takes every text, plus one bulk insert of the same listings
and photos. Budgets: writing <= 1.5, import <= 3. `BENCH_DATABASE_URL` runs it on PostgreSQL.
"""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any, BinaryIO

from lxml import etree
from sqlalchemy import text

from benchmarks.feeds_codec import NAMESPACE, bare_walk, written
from benchmarks.ground import analyse, application, line

COUNT = int(os.environ.get("BENCH_OFFERS", "10000"))
TIMES = 3
EXPORT_BUDGET, IMPORT_BUDGET = 1.5, 3.0
_LISTING = (
    "public_id", "kind", "description", "region", "locality", "sub_locality", "address",
    "flat_number", "cadastral_number", "lat", "lon", "price", "rooms", "area_total", "area_living",
    "area_kitchen", "floor", "floors_total", "attributes",
)  # fmt: skip


def main() -> int:
    """Print the ratios; the exit code is 1 when a budget is exceeded."""
    with application(os.environ.get("BENCH_DATABASE_URL")):
        from crm.models import db

        content = written(COUNT)
        print(f"\nFeeds, {db.engine.dialect.name}: {COUNT} offers, {len(content) / 1e6:.1f} MB")
        fits = _imports(content)
        analyse()
        return 0 if _exports() and fits else 1


# --- import -----------------------------------------------------------------------------------


def _imports(content: bytes) -> bool:
    from crm.models import ImportFeed
    from crm.operations import imports, records

    logging.getLogger("crm.operations.transaction").setLevel(logging.ERROR)

    ours, bare, again = [], [], []
    for number in range(TIMES):
        _empty()
        bare.append(_spent(lambda: _bare_import(content)))
        _empty()
        feed = ImportFeed(name=f"Замер {number}", state_for_new="active")
        records.create(feed, None)
        run = imports.start_import(feed, content, enqueue=False)
        ours.append(_spent(lambda pk=run.id: imports.run_import(pk)))  # type: ignore[misc]
        if imports.find_run(run.id).created != COUNT:
            raise SystemExit("not every offer was taken in")
        repeated = imports.start_import(feed, content, enqueue=False)
        again.append(_spent(lambda pk=repeated.id: imports.run_import(pk)))  # type: ignore[misc]
    line("import, all new", min(ours), min(bare), f" <= {IMPORT_BUDGET}")
    line("import, nothing new", min(again), min(bare))
    return min(ours) <= IMPORT_BUDGET * min(bare)


def _empty() -> None:
    from crm.models import db

    db.session.remove()
    with db.engine.begin() as connection:
        for table in ("search_token", "timeline_event", "listing_photo", "listing"):
            connection.execute(text(f"DELETE FROM {table}"))


def _bare_import(content: bytes) -> None:
    """Walk the file, keep the texts, insert listings and photos in one go each."""
    listings: list[tuple[Any, ...]] = []
    photos: list[tuple[Any, ...]] = []

    def take(offer: Any) -> None:
        values = {node.tag.rpartition("}")[2]: node.text for node in offer.iter()}
        number = len(listings) + 1
        listings.append((number, f"bare-{number}", "active", "sale", "flat", values["description"],
                         values["region"], values["address"], "RUB", values["rooms"], "{}", 1,
                         "2026-11-23", "2026-11-23"))  # fmt: skip
        for position, image in enumerate(offer.iterfind(f"{{{NAMESPACE}}}image")):
            photos.append((number, position, "photo", "waiting", image.text, 0))

    bare_walk(io.BytesIO(content), take)
    _bulk("listing", ("id", "public_id", "state", "deal_type", "kind", "description", "region",
                      "address", "currency", "rooms", "attributes", "version", "created_at",
                      "updated_at"), listings)  # fmt: skip
    _bulk("listing_photo", ("listing_id", "position", "kind", "state", "source_url", "attempts"),
          photos)  # fmt: skip


def _bulk(table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from crm.models import db

    names = ", ".join(columns)
    with db.engine.begin() as connection:
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            marks = ", ".join("?" * len(columns))
            driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
            return
        with driver.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


# --- export -----------------------------------------------------------------------------------


def _exports() -> bool:
    from sqlalchemy import select

    from crm.models import Company, Feed, RunState, db
    from crm.operations import bulk, feed_offers, publishing, records

    company = db.session.scalars(select(Company)).one()
    company.name, company.ogrn_name, company.phone = "АН «Причал»", "ООО «Причал»", "+78125550101"
    feed = Feed(name="Замер")
    records.create(feed, None)
    db.session.commit()

    def ours(out: IO[bytes]) -> None:
        run_id = publishing._begin(feed.id, None)
        with bulk.settled_memory():
            built = publishing._write(run_id, out)
        publishing._finish(run_id, RunState.FAILED, None, None)
        if built.offers != COUNT:
            raise SystemExit(f"{built.offers} offers written: {built.refused[:3]}")

    writing = min(_spent(lambda: _into_file(ours)) for _ in range(TIMES))
    bare = min(_spent(lambda: _into_file(_bare_export)) for _ in range(TIMES))
    rows = min(
        _spent(lambda: sum(1 for _ in feed_offers.entries(feed, company))) for _ in range(TIMES)
    )
    whole = _spent(lambda: publishing.build_feed(feed.id))
    line("export, writing the file", writing, bare, f" <= {EXPORT_BUDGET}")
    print(f"{'  of it rows to offers':<34}{rows * 1e3:>10.2f} ms")
    line("export, checked, packed, published", whole, bare)
    return writing <= EXPORT_BUDGET * bare


def _into_file(write: Callable[[IO[bytes]], None]) -> None:
    with tempfile.TemporaryFile() as out:
        write(out)


def _bare_export(out: IO[bytes]) -> None:
    """The same rows by plain SQL, an element a value, nothing decided or checked."""
    import json

    from crm.models import db

    with db.engine.connect() as connection, etree.xmlfile(_binary(out), encoding="UTF-8") as file:
        photos: dict[int, list[str]] = {}
        for pk, url in connection.exec_driver_sql(
            "SELECT listing_id, source_url FROM listing_photo ORDER BY listing_id, position"
        ):
            photos.setdefault(pk, []).append(url)
        rows = connection.exec_driver_sql(
            f"SELECT id, {', '.join(_LISTING)} FROM listing ORDER BY id"
        )
        file.write_declaration()
        with file.element(f"{{{NAMESPACE}}}realty-feed", nsmap={None: NAMESPACE}):
            for row in rows:
                node = etree.Element("offer", {"internal-id": row[1]})
                for name, value in zip(_LISTING[1:-1], row[2:-1], strict=True):
                    if value is not None:
                        etree.SubElement(node, name).text = str(value)
                more = row[-1] if isinstance(row[-1], dict) else json.loads(row[-1])
                for name, value in more.items():
                    _bare_values(node, name, value)
                for url in photos.get(row[0], ()):
                    etree.SubElement(node, "image").text = url
                file.write(node)


def _bare_values(node: Any, name: str, value: Any) -> None:
    for item in value if isinstance(value, list) else [value]:
        child = etree.SubElement(node, name)
        if isinstance(item, dict):
            for key, text_ in item.items():
                if text_ is not None:
                    etree.SubElement(child, key).text = str(text_)
        else:
            child.text = str(item)


def _binary(out: IO[bytes]) -> BinaryIO:
    return out  # type: ignore[return-value]


def _spent(call: Callable[[], object]) -> float:
    started = time.process_time()
    wall = time.perf_counter()
    call()
    # What a database in another process does is counted too.
    return max(time.process_time() - started, time.perf_counter() - wall)


if __name__ == "__main__":
    raise SystemExit(main())
