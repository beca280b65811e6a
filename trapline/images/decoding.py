"""Opening and decoding with Pillow: bytes to a header, and to upright 8-bit RGB, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from trapline.errors import Permanent
from trapline.images.structure import ends_early, kind_of, png_chunks, refuse_bomb, refuse_large

RGB = NDArray[np.uint8]  # height x width x 3

_DATE_TIME_ORIGINAL, _OFFSET_TIME_ORIGINAL, _EXIF_FOLDER, _ORIENTATION = 0x9003, 0x9011, 0x8769, 0x0112
_STRIP = 2**22  # pixels that are converted at a time: a picture is held whole twice, as decoded and as RGB

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # reads a multi-picture file's first picture too
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded."""

    format: str
    size: tuple[int, int]  # as stored, before orientation
    orientation: int
    captured_at: datetime | None


def read_header(data: bytes, max_pixels: int) -> Header:
    """Check the file's structure and open it. Raises `Permanent`."""
    if not data:
        raise Permanent("The file has no bytes.", code="empty_file")
    kind = kind_of(data)
    refuse_bomb(data, kind, max_pixels)
    picture = _open(data, kind)
    size = _stored_size(picture)
    refuse_large(size, max_pixels)
    orientation, captured_at = _exif(picture, data)
    return Header("MPO" if "mp" in picture.info else kind, size, orientation, captured_at)


def decode(data: bytes, head: Header, divisor: int) -> RGB:
    """The picture upright, at 1/`divisor` of its size where its format can do that. Raises `Permanent`."""
    kind = "JPEG" if head.format == "MPO" else head.format
    if kind == "JPEG" and ends_early(data, kind):
        raise _failure(data, kind)  # a tail of zeros decodes as grey without any complaint
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # libraries that functions import switch it on, for the whole process
    picture = _open(data, kind)
    try:
        if divisor > 1:
            picture.draft(None, (head.size[0] // divisor, head.size[1] // divisor))
        picture.load()
        array = _upright(picture, 1 if kind == "TIFF" else head.orientation)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        raise _failure(data, kind, error) from error
    array.flags.writeable = False  # shared by everybody who asks for this scale
    return array


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    try:
        return _OPENERS[kind](io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        raise _failure(data, kind, error) from error


def _failure(data: bytes, kind: str, error: Exception | None = None) -> Permanent:
    if isinstance(error, Pillow.DecompressionBombError):
        return Permanent("The image has more pixels than are read.", code="image_too_large")
    if ends_early(data, kind):
        return Permanent(f"The {kind} file ends before its picture does.", code="image_truncated")
    return Permanent(f"The {kind} file is damaged: {str(error)[:120]}", code="image_unreadable")


def _stored_size(picture: ImageFile.ImageFile) -> tuple[int, int]:
    # Pillow announces a TIFF's size as displayed and turns it upright by itself; the tile size is as stored.
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return getattr(picture, "_tile_size", picture.size)
    return picture.size


def _exif(picture: ImageFile.ImageFile, data: bytes) -> tuple[int, datetime | None]:
    """Orientation and capture time. Broken EXIF says nothing, but the picture beside it is still good."""
    try:
        tags = _exif_tags(picture, data)
        orientation = tags.get(_ORIENTATION, 1)
        moment = _moment(tags.get_ifd(_EXIF_FOLDER))
    except Exception:  # noqa: BLE001 - as hostile as the pixels, and worth less
        return 1, None
    return (orientation if orientation in range(1, 9) else 1), moment


def _exif_tags(picture: ImageFile.ImageFile, data: bytes) -> Pillow.Exif:
    if not isinstance(picture, PngImagePlugin.PngImageFile):
        return picture.getexif()
    # Pillow would decode the whole PNG to look for a chunk behind the pixels.
    tags = Pillow.Exif()
    for name, start, length in png_chunks(data):
        if name == b"eXIf":
            tags.load(b"Exif\0\0" + data[start : start + length])
    return tags


def _moment(tags: dict[int, object]) -> datetime | None:
    taken, offset = _text(tags.get(_DATE_TIME_ORIGINAL)), _text(tags.get(_OFFSET_TIME_ORIGINAL))
    try:
        moment = datetime.strptime(taken[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    try:
        return moment.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return moment


def _text(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ")


# -- to upright 8-bit RGB


def _upright(picture: ImageFile.ImageFile, orientation: int) -> RGB:
    width, height = picture.size
    convert = _converter(picture)
    if orientation == 1 and width * height <= _STRIP:
        return np.asarray(convert(picture))
    array = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = _as_stored(array, orientation)
    for top, strip in _strips(picture):
        stored[top : top + strip.height] = np.asarray(convert(strip))
    return array


def _as_stored(array: RGB, orientation: int) -> RGB:
    """A view of upright pixels in the order in which the file holds them."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 6, 7) else 1
    right = -1 if orientation in (2, 3, 7, 8) else 1
    return array[::down, ::right]


def _strips(picture: Pillow.Image) -> Iterator[tuple[int, Pillow.Image]]:
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _converter(picture: ImageFile.ImageFile) -> Callable[[Pillow.Image], Pillow.Image]:
    """What turns parts of a picture of any mode to RGB, keeping the picture's brightness."""
    if picture.mode.startswith(("I", "F")):
        ceiling = _ceiling(picture)
        return lambda part: _from_deep(np.asarray(part), ceiling)
    if picture.mode == "CMYK" and picture.format == "JPEG" and "adobe" not in picture.info:
        return lambda part: ImageChops.invert(part).convert("RGB")  # Pillow inverts every one; only Adobe's are
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _on_white
    return lambda part: part if part.mode == "RGB" else part.convert("RGB")


def _on_white(part: Pillow.Image) -> Pillow.Image:
    layer = part.convert("RGBA")
    white = Pillow.new("RGBA", layer.size, (255, 255, 255, 255))
    return Pillow.alpha_composite(white, layer).convert("RGB")


def _ceiling(picture: Pillow.Image) -> float:
    """What is white in grey values deeper than 8 bits: by their type's range, never by the picture's own content."""
    if picture.mode.startswith("I;16"):
        return 65535.0
    top = max(float(np.nan_to_num(np.asarray(part, np.float32)).max(initial=0)) for _, part in _strips(picture))
    if picture.mode == "F":
        return 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0
    return 65535.0 if top <= 65535 else float(2**31 - 1)


def _from_deep(values: NDArray[np.generic], ceiling: float) -> Pillow.Image:
    deep = np.nan_to_num(values.astype(np.float32))
    grey = np.clip(deep * (255.0 / ceiling) + 0.5, 0, 255).astype(np.uint8)
    return Pillow.fromarray(grey).convert("RGB")
