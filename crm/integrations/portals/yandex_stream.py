"""Walks a YRL file offer by offer with flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from lxml import etree

from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import (
    FeedBroken,
    Offer,
    OfferRead,
    OfferRefused,
    ReadResult,
)
from crm.integrations.portals.feed_file import FeedText, UnreadableFeed, open_feed
from crm.integrations.portals.yandex_decide import offer_of
from crm.integrations.portals.yandex_read import OFFER_HANDLERS, Draft, Handlers

MAX_RAW = 2_000

# Formats of other portals by their root element, so that a wrong file is told by its name.
OTHER_FORMATS = {
    "Ads": "Авито",
    "feed": "ЦИАН",
    "bn-feed": "BN.RU",
    "root": "BN.RU (старый)",
    "users": "IRR",
    "emls-realty-feed": "EMLS",
    "yml_catalog": "YML",
    "complexes": "ДомКлик (для застройщиков)",
}


def read_feed(stream: BinaryIO) -> Iterator[ReadResult]:
    """One result an offer; `FeedBroken` last when the file is wrong, damaged, cut or empty."""
    position = 0
    try:
        with open_feed(stream) as text:
            _check_root(text.root_name())
            for result in _offers(text):
                position = result.position
                yield result
    except UnreadableFeed as error:
        yield FeedBroken(position, error.message)
    except etree.XMLSyntaxError as error:
        yield FeedBroken(position, _syntax_message(error, position))
    else:
        if not position:
            yield FeedBroken(0, "В файле нет ни одного предложения")


def _check_root(name: str) -> None:
    if name == y.ROOT:
        return
    if name in OTHER_FORMATS:
        raise UnreadableFeed(f"Это файл формата {OTHER_FORMATS[name]}, а не Яндекс Недвижимости")
    if name:
        raise UnreadableFeed(f"Корневой элемент «{name[:60]}» вместо «{y.ROOT}»")
    raise UnreadableFeed("Файл пуст или не является XML")


def _syntax_message(error: etree.XMLSyntaxError, position: int) -> str:
    where = f"строка {error.lineno}" if error.lineno else "конец файла"
    return f"XML повреждён или обрывается после предложения № {position} ({where})"


def _offers(text: FeedText) -> Iterator[OfferRead | OfferRefused]:
    handlers = Handlers(OFFER_HANDLERS)
    seen: dict[str, int] = {}
    for position, node in enumerate(_nodes(text), 1):
        yield _result(node, position, handlers, seen)
        _forget(node)


def _nodes(text: FeedText) -> Iterator[Any]:
    checked = False
    for _, node in etree.iterparse(
        text,
        events=("end",),
        tag="{*}" + y.OFFER,
        remove_comments=True,
        remove_pis=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
    ):
        # A second lock: an encoding of its own could hide the declaration from the first one.
        if not checked and node.getroottree().docinfo.internalDTD is not None:
            raise UnreadableFeed("Файл с объявлением DTD не принимается")
        checked = True
        text.mark()
        yield node


def _forget(node: Any) -> None:
    node.clear(keep_tail=False)
    parent = node.getparent()
    while parent is not None and node.getprevious() is not None:
        del parent[0]


def _result(
    node: Any, position: int, handlers: Handlers, seen: dict[str, int]
) -> OfferRead | OfferRefused:
    internal_id = (node.get("internal-id") or "").strip()
    draft = Draft()
    handlers.run(draft, node)
    outcome = offer_of(draft, internal_id)
    if isinstance(outcome, Offer):
        first = seen.setdefault(internal_id, position)
        if first == position:
            return OfferRead(position, internal_id, outcome)
        outcome = (f"internal-id повторяется: он уже есть у предложения № {first}",)
    raw = etree.tostring(node, encoding="unicode", with_tail=False)[:MAX_RAW]
    return OfferRefused(position, internal_id or None, outcome, raw)
