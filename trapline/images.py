"""Safe decoding for function authors: any image file to upright 8-bit RGB, at the scale asked for.

What the bytes hold is never trusted: the pixel count is checked before anything is decoded, only the formats listed
here are opened, and whatever goes wrong ends as one of four failure codes. Nothing here knows a model or a bucket.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

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

from trapline.errors import ConfigError, Permanent

RGB = NDArray[np.uint8]  # height x width x 3
Box = tuple[float, float, float, float]  # x1, y1, x2, y2

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".mpo"})
MAX_PIXELS = 100_000_000

_DATE_TIME_ORIGINAL, _OFFSET_TIME_ORIGINAL, _EXIF_FOLDER, _ORIENTATION = 0x9003, 0x9011, 0x8769, 0x0112

_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # reads a multi-picture file's first picture too
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True)
class Pixels:
    """Decoded pixels, and how to get from them to the full picture as it is displayed."""

    array: RGB  # upright
    scale_x: float  # full displayed pixels per pixel of `array`, horizontally
    scale_y: float  # the same, vertically


class Image:
    """One image file. Nothing is decoded until it is asked for, and nothing twice at the same scale.

    All sizes and boxes are in full pixels of the picture as it is displayed, with the camera's orientation applied.
    Of animations and multi-picture files, the first frame alone is read. Transparent parts become white, as the sheet
    behind a specimen would be. Every attribute and method raises `Permanent` (`empty_file`, `image_truncated`,
    `image_unreadable`, `image_too_large`) where the file does not allow an answer.

    `timezone` is the station's IANA zone; it applies to a capture time that carries no offset of its own.
    """

    def __init__(self, data: bytes, *, max_pixels: int = MAX_PIXELS, timezone: str | None = None) -> None:
        self._data = data
        self._max_pixels = max_pixels
        self._timezone = _zone(timezone) if timezone else None
        self._header: _Header | None = None
        self._decoded: dict[int, RGB] = {}

    @property
    def width(self) -> int:
        """Pixels, as displayed."""
        head = self._head()
        return head.size[1] if head.orientation >= 5 else head.size[0]

    @property
    def height(self) -> int:
        """Pixels, as displayed."""
        head = self._head()
        return head.size[0] if head.orientation >= 5 else head.size[1]

    @property
    def format(self) -> str:
        """`JPEG`, `MPO`, `PNG`, `GIF`, `WEBP`, `BMP` or `TIFF`, whatever the file is called."""
        return self._head().format

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8; 1 where the file gives none or nonsense."""
        return self._head().orientation

    @property
    def captured_at(self) -> str | None:
        """When the camera says it took the picture, ISO 8601; no offset where neither file nor station has one."""
        moment = self._head().captured_at
        if moment is None:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._timezone)).isoformat()

    def pixels(self, *, min_side: int | None = None, max_side: int | None = None) -> Pixels:
        """The picture at the smallest scale that is cheap to decode and no smaller than asked.

        `min_side` asks for at least so many pixels along the shorter side, `max_side` along the longer one; without
        either, full resolution. JPEG decodes to 1/2, 1/4 and 1/8; other formats only whole.
        """
        divisor = self._divisor(min_side, max_side)
        array = self._at(divisor)
        return Pixels(array, self.width / array.shape[1], self.height / array.shape[0])

    def full(self) -> RGB:
        """The whole picture at full resolution, kept until `release`."""
        return self._at(1)

    def crop(self, box: Box, size: int, *, margin: float = 0.0) -> RGB:
        """A `size` x `size` square around `box`, decoded no finer than it needs to be.

        The square's side is the box's longer side with `margin` times that added all around. Where it leaves the
        picture, the picture's edge is repeated.
        """
        x1, y1, x2, y2 = box
        side = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * margin)
        longer = max(self.width, self.height)
        source = self.pixels(max_side=min(longer, int(np.ceil(longer * size / side))))
        centre = ((x1 + x2) / 2 / source.scale_x, (y1 + y2) / 2 / source.scale_y)
        half = (side / 2 / source.scale_x, side / 2 / source.scale_y)
        return _square(source.array, centre, half, size)

    def release(self) -> None:
        """Drop the decoded pixels. They are decoded again if they are asked for again."""
        self._decoded.clear()

    def _head(self) -> _Header:
        if self._header is None:
            self._header = _read_header(self._data, self._max_pixels)
        return self._header

    def _divisor(self, min_side: int | None, max_side: int | None) -> int:
        if self._head().format not in ("JPEG", "MPO") or (min_side is None and max_side is None):
            return 1
        shorter, longer = sorted(self._head().size)
        for divisor in (8, 4, 2):
            if shorter // divisor >= max(1, min_side or 0) and longer // divisor >= max(1, max_side or 0):
                return divisor
        return 1

    def _at(self, divisor: int) -> RGB:
        if divisor not in self._decoded:
            self._decoded[divisor] = _decode(self._data, self._head(), divisor)
        return self._decoded[divisor]


@dataclass(frozen=True)
class _Header:
    format: str
    size: tuple[int, int]  # as stored, before orientation
    orientation: int
    captured_at: datetime | None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"The time zone {name!r} is not known.", remedy="Use an IANA name such as Europe/Copenhagen."
        ) from error


def _read_header(data: bytes, max_pixels: int) -> _Header:
    if not data:
        raise Permanent("The file has no bytes.", code="empty_file")
    kind = _sniff(data)
    _refuse_large(_webp_size(data) if kind == "WEBP" else (0, 0), max_pixels)
    picture = _open(data, kind)
    size = _stored_size(picture)
    _refuse_large(size, max_pixels)
    orientation, captured_at = _exif(picture, data)
    return _Header("MPO" if "mp" in picture.info else kind, size, orientation, captured_at)


def _sniff(data: bytes) -> str:
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    raise Permanent("The file begins like no image format that is read here.", code="image_unreadable")


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
    if _ends_early(data, kind):
        return Permanent(f"The {kind} file ends before its picture does.", code="image_truncated")
    return Permanent(f"The {kind} file is damaged: {str(error)[:120]}", code="image_unreadable")


def _refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise Permanent(
            f"The image is {size[0]} x {size[1]}: more than the {max_pixels} pixels allowed.", code="image_too_large"
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas by the file's first chunk, since opening the file already allocates it."""
    head = data[12:30].ljust(18, b"\0")
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[14:18])
    return width & 0x3FFF, height & 0x3FFF


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
    for name, start, length in _png_chunks(data):
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


def _decode(data: bytes, head: _Header, divisor: int) -> RGB:
    kind = "JPEG" if head.format == "MPO" else head.format
    if kind == "JPEG" and _ends_early(data, kind):
        raise _failure(data, kind)  # a tail of zeros decodes as grey without any complaint
    picture = _open(data, kind)
    try:
        if divisor > 1:
            picture.draft(None, (head.size[0] // divisor, head.size[1] // divisor))
        picture.load()
        flat = _eight_bit(picture)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        raise _failure(data, kind, error) from error
    turn = _UPRIGHT.get(head.orientation) if kind != "TIFF" else None
    array = np.asarray(flat.transpose(turn) if turn is not None else flat)
    array.flags.writeable = False  # shared by everybody who asks for this scale
    return array


def _eight_bit(picture: ImageFile.ImageFile) -> Pillow.Image:
    """Any mode to RGB, keeping the picture's brightness."""
    if picture.mode.startswith(("I", "F")):
        return _from_deep(np.asarray(picture))
    if picture.mode == "CMYK" and picture.format == "JPEG" and "adobe" not in picture.info:
        return ImageChops.invert(picture).convert("RGB")  # Pillow inverts every CMYK JPEG; only Adobe's are inverted
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_deep(values: NDArray[np.generic]) -> Pillow.Image:
    """Grey values deeper than 8 bits, scaled by the range of their type and never by the picture's own content."""
    deep = np.nan_to_num(values.astype(np.float32))
    top = float(deep.max(initial=0))
    if values.dtype.kind == "f":
        ceiling = 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0
    else:
        ceiling = 65535.0 if top <= 65535 else float(2**31 - 1)
    grey = np.clip(deep * (255.0 / ceiling) + 0.5, 0, 255).astype(np.uint8)
    return Pillow.fromarray(grey).convert("RGB")


def _square(array: RGB, centre: tuple[float, float], half: tuple[float, float], size: int) -> RGB:
    height, width = array.shape[:2]
    left, top = int(np.floor(centre[0] - half[0])), int(np.floor(centre[1] - half[1]))
    right, bottom = int(np.ceil(centre[0] + half[0])) + 1, int(np.ceil(centre[1] + half[1])) + 1
    columns = np.clip(np.arange(left, right), 0, width - 1)
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    window = Pillow.fromarray(array[rows[:, None], columns[None, :]])
    x, y = centre[0] - left, centre[1] - top
    exact = (max(0.0, x - half[0]), max(0.0, y - half[1]), x + half[0], y + half[1])  # rounding may give -1e-14
    return np.asarray(window.resize((size, size), Pillow.Resampling.BILINEAR, box=exact))


def _ends_early(data: bytes, kind: str) -> bool:
    """Whether the file's own structure says that bytes are missing at its end, rather than wrong inside."""
    if kind == "JPEG":
        return _jpeg_ends_early(data)
    if kind == "PNG":
        return _png_ends_early(data)
    if kind == "TIFF":
        return _tiff_ends_early(data)
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if len(data) < 12:
        return True
    return int.from_bytes(data[4:8], "little") + 8 > len(data) if kind == "WEBP" else _bmp_ends_early(data)


def _jpeg_ends_early(data: bytes) -> bool:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or 0x02 <= data[at + 1] <= 0xBF:  # no marker, or one that was never given a meaning
            return False
        if data[at + 1] == 0xFF or 0xD0 <= data[at + 1] <= 0xD8 or data[at + 1] == 0x01:
            at += 1 if data[at + 1] == 0xFF else 2
        elif data[at + 1] == 0xDA:
            return data.find(b"\xff\xd9", at) < 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


def _png_ends_early(data: bytes) -> bool:
    names = [name for name, start, length in _png_chunks(data) if start + length + 4 <= len(data)]
    sound = all(name.isalpha() for name, _, _ in _png_chunks(data))
    return sound and b"IEND" not in names


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's name, where its content starts and how long it claims to be, up to the first that makes no sense."""
    at = 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        yield name, at + 8, length
        if not name.isalpha() or name == b"IEND":
            return
        at += 12 + length


def _bmp_ends_early(data: bytes) -> bool:
    # Many writers leave the size field wrong, so it counts only where the pixels do not fit either.
    if len(data) < 30:
        return True
    width, height = struct.unpack("<ii", data[18:26])
    bits = int.from_bytes(data[28:30], "little")
    row = (abs(width) * bits + 31) // 32 * 4
    start = int.from_bytes(data[10:14], "little")
    return bool(start + row * abs(height) > len(data))


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the first folder, or a strip or tile that it names, lies beyond the end. Classic TIFF only."""
    order = "<" if data[:1] == b"I" else ">"
    if len(data) < 8 or data[2:4] not in (b"*\0", b"\0*"):
        return len(data) < 8
    (at,) = struct.unpack(order + "I", data[4:8])
    if at + 2 > len(data):
        return True
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    if at + 2 + count * 12 > len(data):
        return True
    entries = [struct.unpack(order + "HHI4s", data[i : i + 12]) for i in range(at + 2, at + 2 + count * 12, 12)]
    ends = [_tiff_numbers(data, order, entry) for tag in (273, 279, 324, 325) for entry in entries if entry[0] == tag]
    return any(end is None for end in ends) or any(
        start + length > len(data) for starts, lengths in zip(ends[::2], ends[1::2], strict=False)
        for start, length in zip(starts or (), lengths or (), strict=False)
    )  # fmt: skip


def _tiff_numbers(data: bytes, order: str, entry: tuple[int, int, int, bytes]) -> tuple[int, ...] | None:
    """An entry's numbers; None where they lie beyond the end."""
    _, kind, count, value = entry
    width, letter = (2, "H") if kind == 3 else (4, "I")
    if count * width <= 4:
        return struct.unpack(f"{order}{count}{letter}", value[: count * width])
    (at,) = struct.unpack(order + "I", value)
    if at + count * width > len(data):
        return None
    return struct.unpack(f"{order}{count}{letter}", data[at : at + count * width])
