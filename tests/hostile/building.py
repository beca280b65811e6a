"""Pieces that image files are made of, each as wrong as it is asked to be."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


@cache
def picture() -> Image.Image:
    """A small picture with grain, so that no format makes it tiny."""
    return Image.fromarray(np.random.default_rng(7).integers(90, 250, (120, 160, 3), dtype=np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@cache
def plain(form: str) -> bytes:
    """The picture as a file of a format."""
    more: dict[str, Any] = {"MPO": {"save_all": True, "append_images": [picture()]}, "AVIF": {"speed": 10}}
    return saved(picture(), form, **more.get(form, {}))


# -- JPEG


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*before: bytes, image: bytes | None = None) -> bytes:
    """A JPEG with more segments at its beginning."""
    whole = image or plain("JPEG")
    return whole[:2] + b"".join(before) + whole[2:]


def jpeg_sized(width: int, height: int) -> bytes:
    """A JPEG that says it is larger than it is."""
    data = bytearray(plain("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG that goes over all of its picture again and again."""
    data = saved(Image.new("RGB", (4000, 3000), "grey"), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def exif(*entries: tuple[int, int, int, int], then: int = 0, after: bytes = b"") -> bytes:
    """EXIF with entries of (tag, type, count, value or place)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", then) + after


# -- PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, body: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of any claimed size; its pixels are `body`, compressed."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def with_chunk(kind: bytes, body: bytes, *, last: bool = False) -> bytes:
    """The picture as a PNG with one more chunk."""
    data = plain("PNG")
    at = len(data) - 12 if last else 33
    return data[:at] + chunk(kind, body) + data[at:]


@cache
def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    pack = zlib.compressobj(9)
    part = bytes(min(count, 1 << 20))
    full, rest = divmod(count, len(part))
    return b"".join(pack.compress(part) for _ in range(full)) + pack.compress(part[:rest]) + pack.flush()


@cache
def flat_png(side: int) -> bytes:
    """A black picture whose file is small and whose pixels are many."""
    return png(side, side, zeros((side + 1) * side))


def deep_png(image: Image.Image) -> bytes:
    """A picture with 16 bits a channel, which Pillow does not write."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(image).astype(">u2") * 257)
    return png(image.width, image.height, zlib.compress(rows, 1), 16, 2)


# -- the others


def gif(width: int, height: int, *, before: bytes = b"", times: int = 1) -> bytes:
    """A GIF that says it is so large, with blocks before its pictures, of which it has several."""
    data = saved(Image.new("P", (16, 16), 3), "GIF")
    start = 13 + 3 * (2 << (data[10] & 7))
    return data[:6] + struct.pack("<HH", width, height) + data[10:start] + before + data[start:-1] * times + b";"


def blocks(text: bytes, length: int) -> bytes:
    """A GIF's comment, cut in blocks of so many bytes."""
    parts = (text[at : at + length] for at in range(0, len(text), length))
    return b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def bmp(width: int, height: int, packing: int, body: bytes) -> bytes:
    """A BMP with a palette; its pixels are `body`, packed or not."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packing, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + head + bytes(1024) + body


def webp_sized(width: int, height: int, form: bytes = b"VP8X") -> bytes:
    """A WebP that is little more than its canvas."""
    if form == b"VP8L":
        body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(8)
    else:
        body = bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + form + struct.pack("<I", len(body)) + body


Tags = dict[int, tuple[int, int, int]]  # tag → type, count, value or place
GREY: Tags = {
    256: (4, 1, 64),
    257: (4, 1, 64),
    258: (3, 1, 8),
    259: (3, 1, 1),
    262: (3, 1, 1),
    273: (4, 1, 4096),
    277: (3, 1, 1),
    278: (4, 1, 64),
    279: (4, 1, 4096),
}


def tiff(more: Tags, *, without: tuple[int, ...] = (), big: bool = False, body: bytes = bytes(4096)) -> bytes:
    """A grey TIFF of 64 x 64 with other tags; `body` lies at 4096 unless the folder reaches beyond that."""
    tags = sorted({tag: entry for tag, entry in (GREY | more).items() if tag not in without}.items())
    shape, number, head = ("<HHQQ", "<Q", b"II+\0\x08\0\0\0" + struct.pack("<Q", 16)) if big else ("<HHII", "<H", b"")
    folder = struct.pack(number, len(tags)) + b"".join(struct.pack(shape, tag, *entry) for tag, entry in tags)
    return (head or b"II*\0\x08\0\0\0") + (folder + bytes(8)).ljust(4096 - (16 if big else 8), b"\0") + body
