"""Photos: what is accepted comes out upright, clean and small; the rest is refused in words."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin

from crm.integrations.images import SIZES, ImageRefused, PreparedPhoto, prepare

RED, WHITE = (200, 30, 30), (255, 255, 255)


def saved(image: Image.Image, kind: str, **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (60, 40), color: Any = RED) -> Image.Image:
    return Image.new(mode, size, color)


def large(photo: PreparedPhoto) -> Image.Image:
    return Image.open(io.BytesIO(photo.renditions["large"].data))


def near(left: Any, right: Any, by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(left, right, strict=True))


def corner(photo: PreparedPhoto, at: tuple[int, int] = (3, 3)) -> Any:
    return large(photo).getpixel(at)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_six_formats_become_progressive_jpeg(kind: str) -> None:
    photo = prepare(saved(plain(), kind))
    image = large(photo)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (60, 40))
    assert image.info["progressive"]
    assert near(corner(photo), RED)
    assert (photo.width, photo.height, len(photo.sha256)) == (60, 40, 64)


def test_a_file_object_is_read_too() -> None:
    assert prepare(io.BytesIO(saved(plain(), "PNG"))).width == 60


def test_renditions_are_bounded_and_never_enlarged() -> None:
    photo = prepare(saved(plain(size=(3000, 1500)), "JPEG"))
    sizes = {name: (r.width, r.height) for name, r in photo.renditions.items()}
    assert sizes == {"large": (2560, 1280), "medium": (1280, 640), "thumb": (400, 200)}
    for name, rendition in photo.renditions.items():
        assert max(Image.open(io.BytesIO(rendition.data)).size) == SIZES[name]
    small = prepare(saved(plain(), "PNG"))
    assert {(r.width, r.height) for r in small.renditions.values()} == {(60, 40)}


def test_a_jpeg_unpacked_at_a_half_still_fills_the_large_size() -> None:
    photo = prepare(saved(plain(size=(6000, 4000)), "JPEG"))
    assert (photo.width, photo.height) == (2560, 1707)


def test_the_same_photo_has_the_same_hash() -> None:
    data = saved(plain(), "PNG")
    assert prepare(data).sha256 == prepare(data).sha256
    assert prepare(data).sha256 != prepare(saved(plain(color=WHITE), "PNG")).sha256


def test_a_gif_palette_with_a_see_through_colour_lies_on_white() -> None:
    image = plain("P", color=0)
    image.putpalette([0, 0, 0, 200, 30, 30] + [0] * 762)
    image.paste(1, (30, 0, 60, 40))
    photo = prepare(saved(image, "GIF", transparency=0))
    assert near(corner(photo), WHITE)
    assert near(corner(photo, (50, 20)), RED)


def test_the_first_frame_of_a_moving_picture_is_taken() -> None:
    frames = [plain(), plain(color=WHITE)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert near(corner(prepare(data)), RED)


@pytest.mark.parametrize(
    ("image", "kind", "colour"),
    [
        (plain("CMYK", color=(0, 255, 255, 0)), "JPEG", (255, 0, 0)),
        (plain("CMYK", color=(0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (plain("L", color=90), "PNG", (90, 90, 90)),
        (plain("1", color=1), "PNG", WHITE),
        (plain("I;16", color=0x8000), "PNG", (128, 128, 128)),
        (plain("LA", color=(0, 0)), "PNG", WHITE),
        (plain("RGBA", color=(200, 30, 30, 255)), "PNG", RED),
        (plain("RGBA", color=(0, 0, 0, 0)), "WEBP", WHITE),
        (plain("RGBA", color=(0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (plain("F", color=1.0), "TIFF", (1, 1, 1)),
    ],
)
def test_every_colour_model_becomes_rgb_on_white(
    image: Image.Image, kind: str, colour: tuple[int, int, int]
) -> None:
    assert near(corner(prepare(saved(image, kind))), colour)


def test_a_rotated_photo_is_set_upright_and_loses_its_metadata() -> None:
    image = plain()
    image.paste(WHITE, (0, 0, 60, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Phone of the owner"
    data = saved(image, "JPEG", exif=exif, comment=b"home address", quality=95)
    photo = prepare(data)
    assert (photo.width, photo.height) == (40, 60)
    assert near(corner(photo, (36, 30)), WHITE)
    for rendition in photo.renditions.values():
        assert b"Phone" not in rendition.data
        assert b"home address" not in rendition.data
        clean = Image.open(io.BytesIO(rendition.data))
        assert not set(clean.info) & {"exif", "icc_profile", "comment"}


def test_a_colour_profile_is_applied_and_removed() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = prepare(saved(plain(), "JPEG", icc_profile=profile))
    assert near(corner(photo), RED)
    assert "icc_profile" not in large(photo).info
    assert near(corner(prepare(saved(plain(), "JPEG", icc_profile=b"broken"))), RED)


# Pillow speaks of damaged tags in warnings before it gives up.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "пуст"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\n <?xml version='1.0'?><svg/>", "SVG"),
        (b"\xef\xbb\xbf<html>", "SVG или страница HTML"),
        (b"%PDF-1.7", "не фотография"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "не фотография"),
        (b"\xff\xd8\xff\xe0", "повреждена"),
        (b"GIF89a", "повреждена"),
        (b"\x89PNG\r\n\x1a\n", "повреждена"),
        (b"II*\x00" + b"\xff" * 50, "повреждена"),
    ],
)
def test_what_is_not_a_photo_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ImageRefused, match=said):
        prepare(data)


def test_a_name_does_not_help_a_page_pretending_to_be_a_photo() -> None:
    file = io.BytesIO(b"<html><script>")
    file.name = "flat.jpg"
    with pytest.raises(ImageRefused):
        prepare(file)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_cut_file_is_refused(kind: str) -> None:
    noise = Image.effect_noise((400, 300), 60).convert("RGB")
    data = saved(noise, kind)
    with pytest.raises(ImageRefused, match="повреждена или обрывается"):
        prepare(data[: len(data) // 2])


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"\x00" * 10_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    data = png_header(side, side)
    tracemalloc.start()
    with pytest.raises(ImageRefused, match="60 млн точек"):
        prepare(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


PEAK = """
import resource, sys
from crm.integrations import images
data = sys.stdin.buffer.read()
images.prepare(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(data: bytes) -> int:
    """Megabytes of a process that has prepared the picture."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=data, capture_output=True, check=True, timeout=90
    )
    return int(done.stdout)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_small_file_of_a_large_picture_takes_little_more_than_its_pixels(mode: str) -> None:
    """300 KB that took 1.4 GB: eight threads of a web process would have died of it."""
    side = 6000
    see_through = {"transparency": 0} if mode == "P" else {}
    bomb = saved(Image.new(mode, (side, side)), "PNG", **see_through)
    assert len(bomb) < 300_000
    pixels = side * side * (1 if mode == "P" else 4) // 2**20
    assert peak(bomb) - peak(saved(plain(), "PNG")) < pixels + 160


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_a_large_picture_keeps_its_shape_and_colours(mode: str) -> None:
    square = plain("L", (40, 40), 255).convert("RGB")
    wide = Image.new("RGB", (6001, 3001), (0, 0, 0))
    wide.paste(square.resize((3000, 3001)), (3001, 0))
    kind = "TIFF" if mode in ("CMYK", "F", "I") else "PNG"
    source = wide.convert("L").convert("I") if mode == "I;16" else wide.convert(mode)
    if mode == "I;16":
        source = source.point(lambda value: value * 257).convert("I;16")
    packed = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
    photo = prepare(saved(source, kind, **packed))
    assert (photo.width, photo.height) == (2560, 1280)
    for at, color in (((100, 5), 0), ((2400, 5), 255), ((100, 1270), 0), ((2400, 1270), 255)):
        assert near(corner(photo, at), (color,) * 3), at


def test_a_heavy_file_is_refused_without_reading_it_all() -> None:
    file = io.BytesIO(b"\xff\xd8\xff" + b"0" * 3_000_000)
    with pytest.raises(ImageRefused, match="больше 1 МБ"):
        prepare(file, max_bytes=1024 * 1024)
    assert file.tell() == 1024 * 1024 + 1


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
    content = bytearray(saved(plain(), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageRefused):
        photo = prepare(bytes(content), max_pixels=1_000_000)
        assert isinstance(large(photo), JpegImagePlugin.JpegImageFile)
