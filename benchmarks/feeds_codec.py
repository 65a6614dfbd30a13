"""Cost of the YRL codec against bare lxml, in one run: `python benchmarks/feeds_codec.py`.

Bare export writes the very same elements with `lxml.etree.xmlfile`, their tags and texts ready in
memory; bare import walks the file with `iterparse` and takes tag and text of every element into
a dictionary. Budgets: export <= 1.5, import <= 3, memory flat. For comparison the walk alone, which
takes nothing out of the file, is printed too. Every measurement is the best of several.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lxml import etree

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import AgencyInfo, Metro, Offer, OfferPhoto, OfferRead

NAMESPACE = "http://webmaster.yandex.ru/schemas/feed/realty/2010-06"
STAMP = dt.datetime(2026, 11, 23, 6, 0, tzinfo=dt.UTC)
AGENCY = AgencyInfo(name="АН «Причал»", ogrn_name="ООО «Причал»", phone="+74957777777")
TEXT = "Светлая квартира у парка, один собственник, документы готовы. " * 12
EXPORT_BUDGET, IMPORT_BUDGET = 1.5, 3.0
PORTAL = registry.get("yandex")

Ratio = tuple[float, float]
Plain = tuple[str, dict[str, str], str | None, list[Any]]


def offers(count: int) -> Iterator[Offer]:
    """Invented flats with fifteen photos each, about 2.5 KB of XML."""
    for number in range(count):
        yield Offer(
            public_id=f"K-{number}",
            deal_type=v.DealType.SALE,
            kind=v.Kind.FLAT,
            market=v.Market.RESALE,
            sale_kind=v.SaleKind.FREE,
            created_at=STAMP,
            updated_at=STAMP,
            description=TEXT,
            cadastral_number=f"77:01:0004012:{number}",
            region="Москва",
            locality="Москва",
            sub_locality="Сокол",
            address=f"Липовая аллея, {number % 90 + 1}",
            flat_number=str(number % 300),
            lat=Decimal("55.751244"),
            lon=Decimal("37.618423"),
            metro=[Metro("Сокол", 7), Metro("Аэропорт", None, 12)],
            contact_name="Ирина",
            price=Decimal(9_000_000 + number),
            mortgage_allowed=True,
            bargain_allowed=False,
            rooms=number % 5 + 1,
            area_total=Decimal("54.30"),
            area_living=Decimal("31.00"),
            area_kitchen=Decimal("9.50"),
            area_rooms=[Decimal("17"), Decimal("14")],
            floor=5,
            floors_total=9,
            renovation=v.Renovation.EURO,
            balconies=1,
            wc_separate=1,
            wall_material=v.WallMaterial.BRICK,
            built_year=1958,
            ceiling_height=Decimal("3.1"),
            lift=True,
            internet=True,
            has_furniture=False,
            photos=[OfferPhoto(f"https://img.example.ru/{number}/{n}.jpg") for n in range(15)],
        )


def written(count: int) -> bytes:
    """The feed of that many offers."""
    out = io.BytesIO()
    PORTAL.write(offers(count), out, generated_at=STAMP, agency=AGENCY)
    return out.getvalue()


def _plain(node: Any) -> Plain:
    tag = node.tag.rpartition("}")[2]
    return tag, dict(node.attrib), node.text, [_plain(child) for child in node]


def _bare_node(parent: Any, plain: Plain) -> None:
    tag, _, text, children = plain
    node = etree.SubElement(parent, tag)
    if text is not None:
        node.text = text
    for child in children:
        _bare_node(node, child)


def bare_write(listed: list[Plain], out: BinaryIO) -> None:
    """The same elements through `xmlfile`, with nothing to decide or convert."""
    with etree.xmlfile(out, encoding="UTF-8") as file:
        file.write_declaration()
        with file.element(f"{{{NAMESPACE}}}realty-feed", nsmap={None: NAMESPACE}):
            for tag, attributes, text, children in listed:
                node = etree.Element(tag, attributes)
                if text is not None:
                    node.text = text
                for child in children:
                    _bare_node(node, child)
                file.write(node)


def bare_walk(stream: BinaryIO, take: Callable[[Any], object] = len) -> int:
    """Walk the offers, do something with each, forget it."""
    count = 0
    for _, node in etree.iterparse(stream, events=("end",), tag=f"{{{NAMESPACE}}}offer"):
        count += 1
        take(node)
        node.clear()
        while node.getprevious() is not None:
            del node.getparent()[0]
    return count


def _texts(offer: Any) -> dict[str, str | None]:
    return {node.tag: node.text for node in offer.iter()}


def bare_read(stream: BinaryIO) -> int:
    """Take the text of every element of every offer."""
    return bare_walk(stream, _texts)


def best(times: int, ours: Callable[[], object], bare: Callable[[], object]) -> Ratio:
    """Seconds of the fastest run of both, in turns: the machine is shared."""
    spent: list[list[float]] = [[], []]
    for _ in range(times):
        for kept, act in zip(spent, (ours, bare), strict=True):
            started = time.process_time()
            act()
            kept.append(time.process_time() - started)
    return min(spent[0]), min(spent[1])


def export_ratio(count: int, times: int) -> Ratio:
    """Seconds of ours and of bare `xmlfile`; both must give the same bytes."""
    listed = list(offers(count))
    content = written(count)
    plain = [_plain(node) for node in etree.fromstring(content)]
    check = io.BytesIO()
    bare_write(plain, check)
    if check.getvalue() != content:
        raise SystemExit("the bare writer does not write the same file")
    return best(
        times,
        lambda: PORTAL.write(listed, io.BytesIO(), generated_at=STAMP, agency=AGENCY),
        lambda: bare_write(plain, io.BytesIO()),
    )


def import_ratio(count: int, times: int, bare: Callable[[BinaryIO], int]) -> Ratio:
    """Seconds of ours and of a bare `iterparse`."""
    content = written(count)

    def ours() -> None:
        read = sum(isinstance(result, OfferRead) for result in PORTAL.read(io.BytesIO(content)))
        if read != count:
            raise SystemExit(f"{read} offers read instead of {count}")

    return best(times, ours, lambda: bare(io.BytesIO(content)))


def peak_megabytes(what: str, count: int) -> int:
    """Peak resident memory of a fresh process that writes or reads that many offers."""
    done = subprocess.run(
        [sys.executable, __file__, what, str(count)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def _alone(what: str, count: int) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"feeds-codec-{os.getpid()}.xml"
    try:
        with path.open("wb") as out:
            PORTAL.write(offers(count), out, generated_at=STAMP, agency=AGENCY)
        if what == "read":
            with path.open("rb") as stream:
                for _ in PORTAL.read(stream):
                    continue
    finally:
        path.unlink(missing_ok=True)
    print(_peak_kilobytes() // 1024)


def _peak_kilobytes() -> int:
    """Own peak; the counter of `getrusage` would begin with that of the parent process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def _line(name: str, ours: float, bare: float, budget: float) -> bool:
    ratio = ours / bare
    verdict = "ok" if ratio <= budget else "OVER"
    print(
        f"{name}: ours {ours:.3f} s, bare lxml {bare:.3f} s, x{ratio:.2f} (<= {budget}) {verdict}"
    )
    return ratio <= budget


def main(count: int = 10_000, times: int = 4) -> int:
    """Print the ratios; the exit code is 1 when a budget is exceeded."""
    print(f"{count} offers, {len(written(count)) / 1e6:.1f} MB")
    fits = [
        _line("export", *export_ratio(count, times), EXPORT_BUDGET),
        _line("import", *import_ratio(count, times, bare_read), IMPORT_BUDGET),
    ]
    ours, walk = import_ratio(count, times, bare_walk)
    print(f"import: x{ours / walk:.2f} of the walk alone, which reads nothing")
    for what in ("write", "read"):
        small, big = peak_megabytes(what, count // 10), peak_megabytes(what, count)
        print(f"{what}: peak {small} MB for {count // 10} offers, {big} MB for {count}")
        fits.append(big <= small + 30)
    return 0 if all(fits) else 1


if __name__ == "__main__":
    if sys.argv[1:]:
        _alone(sys.argv[1], int(sys.argv[2]))
    else:
        raise SystemExit(main())
