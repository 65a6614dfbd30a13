"""Drawn pictures of houses, rooms and plans: decent at the size of a card, nobody's property."""

from __future__ import annotations

import io
import itertools
import random

from PIL import Image, ImageDraw

SIZE = (1280, 860)
_SKIES = (
    ("#9cc3ea", "#eaf3fb"),
    ("#f3c9a5", "#fdf1e6"),
    ("#b9c6d8", "#eef1f6"),
    ("#7fa7d6", "#d9e8f7"),
)
_WALLS = ("#c98f6b", "#d8c3a5", "#b7b7b2", "#e3d8c8", "#a65e4e", "#cfd6dc", "#8f9aa3", "#d9a86c")
_ROOM_WALLS = ("#efe9e1", "#e6edf0", "#f3ece0", "#e8e6ef", "#eaf0e6")
_FLOORS = ("#b98b5e", "#a87b52", "#8d6b4c", "#c9a27a")
_SOFAS = ("#5b7a99", "#8a6f8f", "#6f8f7a", "#a3685c", "#7d7f88")


def facade(rnd: random.Random) -> bytes:
    """A house from the street."""
    image = _sky(rnd)
    draw = ImageDraw.Draw(image)
    ground = 700
    for _ in range(3):
        _tower(draw, rnd, ground, faded=True)
    _tower(draw, rnd, ground, faded=False)
    draw.rectangle((0, ground, *SIZE), fill="#8ea07c")
    draw.rectangle((0, ground + 70, *SIZE), fill="#7a7f86")
    for x in range(30, SIZE[0], 170):
        _tree(draw, x + rnd.randint(-30, 30), ground + 20, rnd)
    return _jpeg(image)


def house(rnd: random.Random) -> bytes:
    """A country house with a roof and a fence."""
    image = _sky(rnd)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 600, *SIZE), fill="#88a870")
    left, right = rnd.randint(260, 340), rnd.randint(900, 1010)
    draw.rectangle((left, 380, right, 690), fill=rnd.choice(_WALLS))
    roof = rnd.choice(("#6b4a3a", "#54606c", "#7c3f36"))
    draw.polygon([(left - 60, 380), ((left + right) // 2, 190), (right + 60, 380)], fill=roof)
    for x in range(left + 60, right - 120, 150):
        _window(draw, x, 450, 90, 110, rnd)
    draw.rectangle((right - 110, 520, right - 40, 690), fill="#5d4637")
    for x in range(0, SIZE[0], 38):
        draw.rectangle((x, 700, x + 24, 800), fill="#d8cdbb")
    return _jpeg(image)


def room(rnd: random.Random) -> bytes:
    """A living room with a window, a sofa and a picture."""
    image = Image.new("RGB", SIZE, rnd.choice(_ROOM_WALLS))
    draw = ImageDraw.Draw(image)
    floor = rnd.choice(_FLOORS)
    draw.polygon([(0, 860), (0, 640), (1280, 640), (1280, 860)], fill=floor)
    for x in range(-200, 1500, 110):
        draw.line((x, 860, 640 + (x - 640) * 0.7, 640), fill=_darker(floor), width=2)
    wx = rnd.randint(620, 780)
    draw.rectangle((wx, 130, wx + 380, 470), fill="#f8fafc")
    draw.rectangle((wx + 14, 144, wx + 366, 456), fill="#bcd9f2")
    draw.rectangle((wx + 184, 130, wx + 196, 470), fill="#f8fafc")
    sofa = rnd.choice(_SOFAS)
    draw.rounded_rectangle((120, 480, 600, 720), 36, fill=_darker(sofa))
    draw.rounded_rectangle((150, 560, 570, 740), 30, fill=sofa)
    draw.rectangle((220, 180, 470, 360), fill="#ffffff", outline="#9a8f82", width=8)
    draw.ellipse((290, 220, 400, 320), fill=rnd.choice(_WALLS))
    draw.rounded_rectangle((680, 640, 1000, 700), 12, fill="#6d5543")
    return _jpeg(image)


def plan(rnd: random.Random) -> bytes:
    """A flat's plan: walls, doors, areas."""
    image = Image.new("RGB", SIZE, "#ffffff")
    draw = ImageDraw.Draw(image)
    xs = [200, rnd.randint(480, 620), rnd.randint(760, 880), 1080]
    ys = [140, rnd.randint(380, 470), 720]
    for x, following in itertools.pairwise(xs):
        for y, below in itertools.pairwise(ys):
            draw.rectangle((x, y, following, below), outline="#2b3340", width=9)
            area = (following - x) * (below - y) / 9_500
            draw.text(((x + following) // 2 - 24, (y + below) // 2), f"{area:.1f}", fill="#475467")
    for x, y in ((xs[1], ys[1] - 90), (xs[2], ys[1] + 60), (xs[0] + 120, ys[1])):
        draw.rectangle((x - 10, y - 30, x + 10, y + 30), fill="#ffffff")
    return _jpeg(image)


def land(rnd: random.Random) -> bytes:
    """A plot with a road and a wood."""
    image = _sky(rnd)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 430, *SIZE), fill="#9bb878")
    for x in range(0, SIZE[0], 46):
        _tree(draw, x + rnd.randint(-12, 12), 440, rnd)
    draw.polygon([(560, 860), (620, 440), (660, 440), (760, 860)], fill="#c4b193")
    return _jpeg(image)


def _sky(rnd: random.Random) -> Image.Image:
    top, bottom = rnd.choice(_SKIES)
    column = Image.new("RGB", (1, 2))
    column.putpixel((0, 0), _rgb(top))
    column.putpixel((0, 1), _rgb(bottom))
    return column.resize(SIZE, Image.Resampling.BILINEAR)


def _tower(draw: ImageDraw.ImageDraw, rnd: random.Random, ground: int, *, faded: bool) -> None:
    width = rnd.randint(180, 300) if faded else rnd.randint(420, 560)
    height = rnd.randint(220, 420) if faded else rnd.randint(430, 600)
    left = rnd.randint(0, SIZE[0] - width) if faded else rnd.randint(280, 460)
    wall = "#c5ccd6" if faded else rnd.choice(_WALLS)
    draw.rectangle((left, ground - height, left + width, ground), fill=wall)
    if faded:
        return
    draw.rectangle(
        (left - 12, ground - height - 18, left + width + 12, ground - height), fill=_darker(wall)
    )
    for y in range(ground - height + 40, ground - 90, 74):
        for x in range(left + 34, left + width - 60, 78):
            _window(draw, x, y, 44, 50, rnd)
    middle = left + width // 2
    draw.rectangle((middle - 34, ground - 84, middle + 34, ground), fill="#4a3b33")


def _window(
    draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int, rnd: random.Random
) -> None:
    glass = rnd.choice(("#dcebf7", "#bfd4e6", "#f6e3a8", "#cfe0ee"))
    draw.rectangle((x, y, x + width, y + height), fill=glass, outline="#f4f4f2", width=4)
    draw.line((x + width // 2, y, x + width // 2, y + height), fill="#f4f4f2", width=3)


def _tree(draw: ImageDraw.ImageDraw, x: int, ground: int, rnd: random.Random) -> None:
    height = rnd.randint(60, 130)
    draw.rectangle((x - 5, ground - height // 2, x + 5, ground + 20), fill="#6b4f3a")
    radius = rnd.randint(30, 48)
    green = rnd.choice(("#5f8a4f", "#6f9a58", "#4f7a48"))
    draw.ellipse(
        (x - radius, ground - height - radius // 2, x + radius, ground - height // 3), fill=green
    )


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _darker(color: str) -> str:
    return "#" + "".join(f"{int(part * 0.82):02x}" for part in _rgb(color))


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()
