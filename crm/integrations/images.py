"""Photos: from whatever people and feeds give to clean JPEG renditions for portals and pages."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import BinaryIO

from PIL import Image, ImageCms, ImageOps

SIZES: Mapping[str, int] = MappingProxyType({"large": 2560, "medium": 1280, "thumb": 400})
QUALITY = 85
MAX_PIXELS = 60_000_000
MAX_BYTES = 25 * 1024 * 1024
WHITE = (255, 255, 255)
# A picture of this many pixels takes over a hundred megabytes, however small its file is: the
# threads of a process unpack such ones in turn.
_HEAVY_PIXELS = 20_000_000
_heavy = Lock()
# Rows of the smaller picture that are made of one strip of a large one.
_STRIP = 64
_MARKUP = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\x00<")
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    OverflowError,
    ZeroDivisionError,
)


class ImageRefused(ValueError):
    """The file cannot become a photo; the message is Russian and fit for a person."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One JPEG; width and height in pixels."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """Renditions by name (`SIZES`); size and hash are those of the large one."""

    width: int
    height: int
    sha256: str
    renditions: Mapping[str, Rendition]


def prepare(
    data: BinaryIO | bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> PreparedPhoto:
    """Check and convert a photo: upright, RGB on white, without metadata, progressive JPEG.

    Accepts JPEG, PNG, GIF, WEBP, BMP and TIFF by their bytes, whatever the name says; of several
    frames the first one is taken. Raises `ImageRefused`.
    """
    content = _read(data, max_bytes)
    kind = _kind(content)
    try:
        with _opened(content, kind, max_pixels) as image, _turn(image):
            picture = _clean(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(max_pixels) from None
    except _DAMAGED as error:
        if isinstance(error, ImageRefused):
            raise
        raise ImageRefused("Фотография повреждена или обрывается") from error
    return _photo(picture)


def _read(data: BinaryIO | bytes, max_bytes: int) -> bytes:
    content = data if isinstance(data, bytes) else data.read(max_bytes + 1)
    if not content:
        raise ImageRefused("Файл пуст")
    if len(content) > max_bytes:
        raise ImageRefused(f"Файл больше {max_bytes // 1024 // 1024} МБ")
    return content


def _kind(content: bytes) -> str:
    """Pillow's name of the format by magic bytes."""
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    if content.startswith(b"BM"):
        return "BMP"
    if content.startswith((b"II*\x00", b"MM\x00*")):
        return "TIFF"
    if content.lstrip()[:4].startswith(_MARKUP):
        raise ImageRefused("Это SVG или страница HTML, а нужна фотография")
    raise ImageRefused("Это не фотография: нужен файл JPEG, PNG, GIF, WEBP, BMP или TIFF")


def _opened(content: bytes, kind: str, max_pixels: int) -> Image.Image:
    """Only the header is read here, so that a bomb is refused before it is unpacked."""
    image = Image.open(io.BytesIO(content), formats=[kind])
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels)
    return image


def _too_many_pixels(max_pixels: int) -> ImageRefused:
    return ImageRefused(f"В фотографии больше {max_pixels // 1_000_000} млн точек")


def _turn(image: Image.Image) -> AbstractContextManager[object]:
    """Nothing of the picture is unpacked yet."""
    return _heavy if image.width * image.height > _HEAVY_PIXELS else nullcontext()


def _upright(image: Image.Image) -> Image.Image:
    # A JPEG is unpacked at once at a half or a quarter when that is still large enough.
    image.draft(None, (SIZES["large"], SIZES["large"]))
    image.load()
    # In place: a copy of a large picture would take as much again.
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _clean(upright: Image.Image) -> Image.Image:
    largest = SIZES["large"]
    picture = _standard_colours(_reduced(upright), upright.info.get("icc_profile"))
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    # Saving would otherwise carry the comment of the source along.
    picture.info = {}
    return picture


def _reduced(image: Image.Image) -> Image.Image:
    """RGB on white, of a large picture a smaller one: its whole copies would take gigabytes."""
    factor = max(image.size) // SIZES["large"]
    if factor <= 1:
        return _on_white(image)
    if image.mode in ("I", "F"):
        # By its darkest and lightest point, which a strip does not know.
        return _on_white(image.reduce(factor))
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, _STRIP * factor):
        strip = image.crop((0, top, width, min(top + _STRIP * factor, height)))
        small.paste(_on_white(strip).reduce(factor), (0, top // factor))
    return small


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("I", "F"):
        image = _squeezed(image)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*WHITE, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _squeezed(image: Image.Image) -> Image.Image:
    """32-bit grey to 8 bits by its own darkest and lightest point."""
    low, high = image.getextrema()
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low == high:
        return image.convert("L")
    scale = 255 / (high - low)
    return image.point(lambda value: value * scale - low * scale).convert("L")


def _standard_colours(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours of a wide-gamut phone in sRGB, because the profile itself is stripped."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target)
    except (ImageCms.PyCMSError, OSError):
        # A damaged profile, or one of CMYK paper: the colours are used as they are.
        return image
    return converted or image


def _photo(picture: Image.Image) -> PreparedPhoto:
    renditions = {name: _rendition(picture, side) for name, side in SIZES.items()}
    large = renditions["large"]
    digest = hashlib.sha256(large.data).hexdigest()
    return PreparedPhoto(large.width, large.height, digest, MappingProxyType(renditions))


def _rendition(picture: Image.Image, side: int) -> Rendition:
    image = picture
    if max(picture.size) > side:
        image = picture.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, progressive=True, optimize=True)
    return Rendition(out.getvalue(), image.width, image.height)
