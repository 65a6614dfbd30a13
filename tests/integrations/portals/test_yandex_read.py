"""Import: what real feeds get wrong is understood, kept or refused in words."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import (
    FeedBroken,
    Offer,
    OfferPhoto,
    OfferRead,
    OfferRefused,
    ReadResult,
)
from crm.integrations.portals.feed_file import UnreadableFeed, open_feed

portal = registry.get("yandex")
NS = 'xmlns="http://webmaster.yandex.ru/schemas/feed/realty/2010-06"'
BASE = (
    "<type>продажа</type><category>квартира</category>"
    "<price><value>100</value><currency>RUR</currency></price>"
)


def offer_xml(body: str = BASE, number: str = "1") -> str:
    return f'<offer internal-id="{number}">{body}</offer>'


def feed(*bodies: str, ns: str = NS) -> bytes:
    head = f'<?xml version="1.0" encoding="UTF-8"?><realty-feed {ns}>'
    return f"{head}{''.join(bodies)}</realty-feed>".encode()


def read(content: bytes) -> list[ReadResult]:
    return list(portal.read(io.BytesIO(content)))


def one(body: str) -> Offer:
    [result] = read(feed(offer_xml(BASE + body)))
    assert isinstance(result, OfferRead), result
    return result.offer


def refused(body: str, number: str = "1") -> OfferRefused:
    [result] = read(feed(offer_xml(body, number)))
    assert isinstance(result, OfferRefused)
    return result


def broken(content: bytes) -> FeedBroken:
    last = read(content)[-1]
    assert isinstance(last, FeedBroken)
    return last


@pytest.mark.parametrize("ns", [NS, NS.replace("http:", "https:"), ""])
def test_the_namespace_does_not_matter(ns: str) -> None:
    [result] = read(feed(offer_xml(), ns=ns))
    assert isinstance(result, OfferRead)
    assert result.offer.price == 100


def test_a_prefixed_namespace_is_read() -> None:
    content = feed(offer_xml()).decode().replace("<", "<r:").replace("<r:/", "</r:")
    content = content.replace("<r:?", "<?").replace("xmlns=", "xmlns:r=")
    [result] = read(content.encode())
    assert isinstance(result, OfferRead)


def test_empty_elements_are_absent_ones() -> None:
    offer = one("<rooms/><floor> </floor><location><region></region></location><haggle/>")
    assert (offer.rooms, offer.floor, offer.region, offer.bargain_allowed) == (None,) * 4
    assert (offer.notes, offer.extra) == ([], {})


def test_three_states_of_a_boolean() -> None:
    offer = one("<lift>да</lift><parking>0</parking><alarm>+</alarm><haggle>-</haggle>")
    assert (offer.lift, offer.guarded_parking, offer.alarm) == (True, False, True)
    assert (offer.bargain_allowed, offer.mortgage_allowed) == (False, None)


@pytest.mark.parametrize(
    ("value", "unit", "square_metres"),
    [
        ("7", "сотка", "700"),
        ("7", "\u0063отка", "700"),
        ("7", "\u0063от.", "700"),
        ("7,5", "соток", "750"),
        ("6.35", "сот", "635"),
        ("2", "Гектар", "20000"),
        ("0.5", "hectare", "5000"),
        ("812", "кв. м", "812"),
        ("1 200", "sq.m", "1200"),
    ],
)
def test_plots_are_kept_in_square_metres(value: str, unit: str, square_metres: str) -> None:
    offer = one(f"<lot-area><value>{value}</value><unit>{unit}</unit></lot-area>")
    assert offer.land_area_m2 == Decimal(square_metres)
    assert not offer.notes


@pytest.mark.parametrize("area", ["<value>7</value><unit>локоть</unit>", "<value>7</value>"])
def test_a_plot_in_an_unknown_unit_is_said_and_kept(area: str) -> None:
    offer = one(f"<lot-area>{area}</lot-area>")
    assert offer.land_area_m2 is None
    assert offer.extra["lot-area"][0].startswith("7")
    assert len(offer.notes) == 1


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("8 (915) 614-59-20", "+79156145920"),
        ("+7(915)614-59-20 ", "+79156145920"),
        ("79156145920", "+79156145920"),
        ("9156145920", "+79156145920"),
        ("+375 29 111-22-33", "+375291112233"),
        ("+7812500400", "+7812500400"),
    ],
)
def test_phones_are_normalised(written: str, phone: str) -> None:
    offer = one(f"<sales-agent><phone>{written}</phone><phone>звоните</phone></sales-agent>")
    assert offer.phones == [phone]
    assert offer.extra["sales-agent/phone"] == ["звоните"]


def test_the_two_phones_are_not_confused() -> None:
    offer = one("<phone>1</phone><sales-agent><phone>+74950000001</phone></sales-agent>")
    assert (offer.phone_line, offer.phones) == (True, ["+74950000001"])


def test_repeated_elements_become_lists() -> None:
    offer = one(
        "<image>https://a.example/1.jpg</image><picture> https://a.example/2.jpg</picture>"
        '<image tag="3d plan">https://a.example/3.jpg</image>'
        "<room-space><value>10</value><unit>кв.м</unit></room-space>"
        "<room-space><value>12.5</value></room-space>"
        "<vas>premium</vas><vas start-time='2026-11-23T10:00:00+03:00'>raise</vas>"
    )
    assert offer.photos == [
        OfferPhoto("https://a.example/1.jpg"),
        OfferPhoto("https://a.example/2.jpg"),
        OfferPhoto("https://a.example/3.jpg", v.PhotoKind.PLAN_3D),
    ]
    assert offer.area_rooms == [Decimal(10), Decimal("12.5")]
    assert offer.promo == [v.Promo.PREMIUM, v.Promo.RAISE]
    assert offer.promo_raise_at is not None


def test_unknown_elements_and_values_are_kept() -> None:
    offer = one(
        "<whatsapp-phone>+79990000000</whatsapp-phone><quality>сносное</quality>"
        "<sales-agent><agency-id>17</agency-id></sales-agent>"
        "<nested><inner>x</inner></nested><rooms>много</rooms><rooms>3</rooms>"
    )
    assert offer.extra["whatsapp-phone"] == ["+79990000000"]
    assert offer.extra["sales-agent/agency-id"] == ["17"]
    assert "<inner>x</inner>" in offer.extra["nested"][0].replace(f" {NS}", "")
    assert offer.extra["quality"] == ["сносное"]
    assert (offer.quality, offer.rooms) == (None, 3)
    assert [note.split(":")[0] for note in offer.notes] == ["quality", "rooms"]


def test_a_second_value_of_a_single_field_is_kept_beside() -> None:
    offer = one("<floor>2</floor><floor>3</floor>")
    assert (offer.floor, offer.extra) == (2, {"floor": ["3"]})


def test_markup_in_a_description_is_text() -> None:
    offer = one("<description>Дом<![CDATA[ <b>у</b> парка]]></description>")
    assert offer.description == "Дом <b>у</b> парка"
    offer = one("<description>Дом<br/>у парка</description>")
    assert offer.extra["description"] == ["Дому парка"]


@pytest.mark.parametrize(
    ("category", "more", "kind"),
    [
        ("Земельный участок", "", v.Kind.LAND),
        ("дом с участком", "", v.Kind.HOUSE),
        ("гараж", "<garage-type>машино-место</garage-type>", v.Kind.PARKING),
        ("box", "", v.Kind.BOX),
        ("commercial", "", v.Kind.FREE_PURPOSE),
        ("коммерческая", "<commercial-type>hotel</commercial-type>", v.Kind.HOTEL),
        ("склад", "<property-type>коммерческая</property-type>", v.Kind.WAREHOUSE),
        ("участок", "<property-type>commercial</property-type>", v.Kind.COMMERCIAL_LAND),
        ("апартаменты", "", v.Kind.FLAT),
    ],
)
def test_categories_of_the_wild(category: str, more: str, kind: v.Kind) -> None:
    body = BASE.replace("<category>квартира", f"<category>{category}") + more
    [result] = read(feed(offer_xml(body)))
    assert isinstance(result, OfferRead)
    assert result.offer.kind is kind
    assert result.offer.is_apartments is (True if category == "апартаменты" else None)


def test_rent_by_the_day_is_daily() -> None:
    body = BASE.replace("продажа", "аренда").replace(
        "</currency>", "</currency><period>сутки</period>"
    )
    [result] = read(feed(offer_xml(body)))
    assert isinstance(result, OfferRead)
    assert result.offer.deal_type is v.DealType.RENT_DAILY


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("балкон", (1, None)),
        ("2 балкона, лоджия", (2, 1)),
        ("3 лоджии", (None, 3)),
        ("балкон и лоджия", (1, 1)),
        ("нет", (0, 0)),
        ("терраса", (None, None)),
    ],
)
def test_balconies_are_counted(text: str, counts: tuple[int | None, int | None]) -> None:
    offer = one(f"<balcony>{text}</balcony>")
    assert (offer.balconies, offer.loggias) == counts
    assert bool(offer.notes) is (text == "терраса")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BASE.replace("<type>продажа</type>", ""), "тип сделки"),
        (BASE.replace("продажа", "покупка"), "«покупка»"),
        (BASE.replace("квартира", "замок"), "«замок»"),
        (BASE.replace("<category>квартира</category>", ""), "категория"),
        (BASE.replace("100", ""), "Не указана цена"),
        (BASE.replace("100", "по запросу"), "«по запросу» не является числом"),
        (BASE.replace("100", "0"), "не больше нуля"),
        (BASE.replace("100", "9" * 40), "не является числом"),
    ],
)
def test_an_offer_without_its_core_is_refused_in_words(body: str, reason: str) -> None:
    result = refused(body)
    assert any(reason in said for said in result.reasons)
    assert (result.internal_id, result.position) == ("1", 1)
    assert result.raw.startswith("<offer")


def test_an_offer_without_identity_is_refused() -> None:
    assert "internal-id" in refused(BASE, number=" ").reasons[0]
    assert "128" in refused(BASE, number="x" * 129).reasons[0]


def test_all_reasons_are_said_at_once() -> None:
    assert len(refused("<rooms>2</rooms>", number="").reasons) == 4


def test_a_repeated_id_is_refused_with_the_first_place() -> None:
    results = read(feed(offer_xml(), offer_xml(number="2"), offer_xml()))
    assert isinstance(results[2], OfferRefused)
    assert "№ 1" in results[2].reasons[0]


def test_a_cut_file_gives_what_it_has_and_then_says_so() -> None:
    content = feed(*(offer_xml(number=str(number)) for number in range(300)))
    results = read(content[: len(content) // 2])
    assert isinstance(results[-1], FeedBroken)
    assert all(isinstance(result, OfferRead) for result in results[:-1])
    assert results[-1].position == len(results) - 1 > 100


def test_damage_in_the_middle_is_the_last_result() -> None:
    results = read(feed(offer_xml(), "<offer internal-id='2'><a></b></offer>", offer_xml()))
    assert [type(result) for result in results] == [OfferRead, FeedBroken]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "пуст"),
        (b"not a feed", "не является XML"),
        (b"<Ads><Ad/></Ads>", "Авито"),
        (b"<html><body/></html>", "«html»"),
        (feed(), "ни одного предложения"),
        ("<realty-feed/>".encode("utf-16"), "UTF-8"),
        (b"\x1f\x8b\x08\x00broken", "Архив"),
        (b"PK\x03\x04broken", "Архив"),
    ],
)
def test_a_file_that_is_no_feed_is_refused_whole(content: bytes, said: str) -> None:
    assert said in broken(content).message


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize("before", [b"", b"<!-- <x> -->\n", b"<?pi ?>" + b" " * 100_000])
def test_a_document_type_is_refused_wherever_it_hides(before: bytes) -> None:
    body = feed(offer_xml()).split(b"?>", 1)[1]
    assert "DTD" in broken(b"<?xml version='1.0'?>" + before + BOMB + body).message


def test_an_external_entity_is_never_opened() -> None:
    declaration = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    body = feed(offer_xml(BASE + "<description>&a;</description>")).split(b"?>", 1)[1]
    assert read(declaration + body) == [
        FeedBroken(0, "Файл с объявлением DTD не принимается"),
    ]


def test_a_blank_line_and_a_mark_before_the_declaration_are_forgiven() -> None:
    [result] = read(b"\xef\xbb\xbf\r\n" + feed(offer_xml()))
    assert isinstance(result, OfferRead)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return out.getvalue()


def test_archives_are_opened() -> None:
    content = feed(offer_xml())
    assert isinstance(read(gzip.compress(content))[0], OfferRead)
    assert isinstance(read(zipped(feed_xml=content, readme_txt=b"hi"))[0], OfferRead)
    assert "ровно один" in broken(zipped(a_xml=content, b_xml=content)).message
    assert "обрывается" in broken(gzip.compress(content * 3)[:-30]).message


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zipped(feed_xml=content)])
def test_an_archive_bomb_stops_at_the_limit(pack: object) -> None:
    packed = pack(b"<realty-feed>" + b" " * 5_000_000)  # type: ignore[operator]
    with open_feed(io.BytesIO(packed), limit=1_000_000) as text:
        pieces = iter(lambda: text.read(65536), b"")
        with pytest.raises(UnreadableFeed, match="слишком большой"):
            sum(map(len, pieces))


@pytest.mark.parametrize("junk", [b"<x/>", b"<x>y</x>", b"<x a='1'/>"])
@pytest.mark.parametrize("inside", [False, True])
def test_junk_between_offers_does_not_fill_the_memory(junk: bytes, inside: bool) -> None:
    """The parser keeps every element until the next offer: a packed megabyte held a gigabyte."""
    head, tail = feed("|").split(b"|")
    opened = b"<offer internal-id='1'>" if inside else b""
    packed = gzip.compress(head + opened + junk * (40_000_000 // len(junk)) + tail)
    before = resident_megabytes()
    results = list(portal.read(io.BytesIO(packed)))
    assert isinstance(results[-1], FeedBroken)
    assert "без единого" in results[-1].message
    assert resident_megabytes() - before < 350


class Endless(io.RawIOBase):
    """A feed of many offers made on the fly."""

    def __init__(self, count: int) -> None:
        self._parts = self._made(count)
        self._rest = b""

    def _made(self, count: int) -> Iterator[bytes]:
        whole = feed("|").split(b"|")
        yield whole[0]
        for number in range(count):
            filler = f"<description>{'текст ' * 300}</description>"
            yield offer_xml(BASE + filler, str(number)).encode()
        yield whole[1]

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size:
            part = next(self._parts, b"")
            if not part:
                break
            self._rest += part
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def resident_megabytes() -> int:
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc")
def test_memory_does_not_grow_with_the_file() -> None:
    """The tree belongs to libxml2, so only the resident memory of the process tells."""
    memory: list[int] = []
    for result in portal.read(Endless(8000)):  # type: ignore[arg-type]
        assert isinstance(result, OfferRead)
        if result.position in (1000, 8000):
            memory.append(resident_megabytes())
    early, late = memory
    assert late - early < 10
