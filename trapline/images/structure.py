"""What an image file's own structure says: its format, whether it ends early, whether it is a bomb. Decodes nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from trapline.errors import Permanent

MAX_SIDE = 65_535  # pixels; Pillow's own lines of pixels break beyond some multiple of it

# More than any camera or program writes, and little enough to read through.
_SEGMENTS = 5_000  # of a JPEG before its picture
_FILL_BYTES = 65_536  # between them
_SCANS = 100  # of a JPEG; each is a pass over all of the picture
_CHUNKS = 100_000  # of a PNG
_BLOCKS = 20_000  # of text and other data in a GIF before its picture
_PIXELS = 100_000_000  # what `images.max_pixels` is unless it is set
_NUMBERS = 200_000  # of one TIFF tag, such as the places of its strips

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in a scan: neither a stuffed byte nor a restart


def kind_of(data: bytes) -> str:
    """The format by the file's first bytes. Raises `Permanent` where it is none that is read."""
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


def refuse_bomb(data: bytes, kind: str, max_pixels: int) -> None:
    """Raise `Permanent` where a small file would take a decoder, or Pillow's reading of it, far too much."""
    if kind == "JPEG":
        _refuse_jpeg(data)
    elif kind == "PNG":
        _refuse_more("chunks", _count(png_chunks(data), _CHUNKS), _CHUNKS)
    elif kind == "GIF":
        _refuse_more("blocks of text", _count(_gif_blocks(data), _BLOCKS), _BLOCKS)
    elif kind == "WEBP":
        refuse_large(_webp_size(data), _share(max_pixels, 2), " in a WebP file")
    elif kind == "BMP":
        _refuse_bmp(data, max_pixels)
    else:
        _refuse_tiff(data, max_pixels)


def refuse_large(size: tuple[int, int], max_pixels: int, where: str = "") -> None:
    """Raise `Permanent` (`image_too_large`) where a picture has too many pixels, or too long a side."""
    if size[0] * size[1] > max_pixels:
        raise Permanent(
            f"The image is {size[0]} x {size[1]}: more than the {max_pixels} pixels allowed{where}.",
            code="image_too_large",
        )
    if max(size) > MAX_SIDE:
        raise Permanent(
            f"The image is {size[0]} x {size[1]}: a side has more than {MAX_SIDE} pixels.", code="image_too_large"
        )


def _share(max_pixels: int, part: int) -> int:
    """The limit for a format that takes `part` times the memory or the time of others; small pictures are all read."""
    return min(max_pixels, max(max_pixels, _PIXELS) // part)


def ends_early(data: bytes, kind: str) -> bool:
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


def _refuse_more(what: str, count: int, most: int) -> None:
    if count > most:
        raise Permanent(f"The file is damaged: it has more than {most} {what}.", code="image_unreadable")


def _count(things: Iterator[object], most: int) -> int:
    """How many there are, looking at no more than one too many."""
    return sum(1 for _ in islice(things, most + 1))


# -- JPEG


class _Scan(NamedTuple):
    """How a JPEG's markers before its picture end."""

    at: int  # of the first scan; -1: none
    cut: bool  # the file ends before it
    segments: int
    fill: int


def _first_scan(data: bytes) -> _Scan:
    at, segments, fill = 2, 0, 0
    while at + 4 <= len(data) and segments <= _SEGMENTS and fill <= _FILL_BYTES:
        if data[at] != 0xFF or 0x02 <= data[at + 1] <= 0xBF:  # no marker, or one that was never given a meaning
            return _Scan(-1, False, segments, fill)
        if data[at + 1] == 0xFF:
            at, fill = at + 1, fill + 1
        elif 0xD0 <= data[at + 1] <= 0xD8 or data[at + 1] == 0x01:
            at, segments = at + 2, segments + 1
        elif data[at + 1] == _SCAN[1]:
            return _Scan(at, False, segments, fill)
        else:
            at, segments = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big"), segments + 1
    return _Scan(-1, True, segments, fill)


def _jpeg_ends_early(data: bytes) -> bool:
    scan = _first_scan(data)
    return scan.cut if scan.at < 0 else data.find(b"\xff\xd9", scan.at) < 0


def _refuse_jpeg(data: bytes) -> None:
    first = _first_scan(data)
    _refuse_more("segments", first.segments, _SEGMENTS)
    _refuse_more("fill bytes", first.fill, _FILL_BYTES)
    if first.at >= 0 and data.count(_SCAN, first.at) > _SCANS:  # counts what is no scan too: looked at only then
        _refuse_more("scans", _scans(data, first.at), _SCANS)


def _scans(data: bytes, at: int) -> int:
    count = 0
    while count <= _SCANS and (found := _MARKER.search(data, at)):
        at = found.start() + 2
        if found[0] == b"\xff\xd9":
            break
        count += found[0] == _SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    return count


# -- PNG


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's name, where its content starts and how long it claims to be, up to the first that makes no sense."""
    at = 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        yield name, at + 8, length
        if not name.isalpha() or name == b"IEND":
            return
        at += 12 + length


def _png_ends_early(data: bytes) -> bool:
    names = [name for name, start, length in png_chunks(data) if start + length + 4 <= len(data)]
    sound = all(name.isalpha() for name, _, _ in png_chunks(data))
    return sound and b"IEND" not in names


# -- GIF


def _gif_blocks(data: bytes) -> Iterator[int]:
    """The lengths of the blocks before the first picture, whatever they hold."""
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while data[at : at + 1] == b"!":
        at += 2
        while at < len(data):
            length = data[at]
            yield length
            at += 1 + length
            if length == 0:
                break


# -- WebP


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


# -- BMP


class _Bmp(NamedTuple):
    start: int  # of the pixels
    width: int
    height: int
    bits: int  # per pixel
    packed: bool
    size: int  # of the pixels in the file, where they are packed


def _bmp(data: bytes) -> _Bmp | None:
    if len(data) < 38:
        return None
    width, height, _, bits, packing, size = struct.unpack("<iiHHII", data[18:38])
    return _Bmp(int.from_bytes(data[10:14], "little"), abs(width), abs(height), bits, packing in (1, 2), size)


def _refuse_bmp(data: bytes, max_pixels: int) -> None:
    """Packed pixels are unpacked one by one, in Python."""
    head = _bmp(data)
    if head is not None and head.packed:
        refuse_large((head.width, head.height), _share(max_pixels, 4), " in a compressed BMP file")
        most = 2 * (head.width + 1) * head.height + 2
        _refuse_more("bytes of pixels for its size", len(data) - head.start, most + 65_536)


def _bmp_ends_early(data: bytes) -> bool:
    # Many writers leave the size field wrong, so it counts only where the pixels do not fit either.
    head = _bmp(data)
    if head is None:
        return True
    row = (head.width * head.bits + 31) // 32 * 4
    return head.start + (head.size if head.packed else row * head.height) > len(data)


# -- TIFF

_TILES = (273, 279, 324, 325)  # StripOffsets, StripByteCounts, TileOffsets, TileByteCounts
_TILE_SIZE = (322, 323)
_BYTES = (1, 2, 6, 7)  # types of one byte
_PRIVATE = 32_768  # tags from here on are not looked at when the picture is opened


class _Entry(NamedTuple):
    tag: int
    type: int
    amount: int
    value: bytes  # the numbers, or where they are


class _Tiff(NamedTuple):
    order: str
    wide: bool  # a BigTIFF
    entries: list[_Entry]  # of the first folder


def _tiff(data: bytes) -> _Tiff | None:
    """The first folder; None where it lies beyond the end."""
    order = "<" if data[:1] == b"I" else ">"
    wide = data[2:4] in (b"+\0", b"\0+")
    start, place, number, shape = (8, "Q", "Q", "HHQ8s") if wide else (4, "I", "H", "HHI4s")
    try:
        (at,) = struct.unpack_from(order + place, data, start)
        (count,) = struct.unpack_from(order + number, data, at)
        at += struct.calcsize(number)
        size = struct.calcsize(order + shape)
        if at + count * size > len(data):
            return None
        entries = struct.iter_unpack(order + shape, data[at : at + count * size])
        return _Tiff(order, wide, [_Entry(*entry) for entry in entries])
    except (struct.error, OverflowError):
        return None


def _refuse_tiff(data: bytes, max_pixels: int) -> None:
    folder = _tiff(data)
    if folder is None:
        return
    for entry in folder.entries:
        if entry.tag < _PRIVATE and entry.type not in _BYTES:
            _refuse_more(f"numbers under tag {entry.tag}", entry.amount, _NUMBERS)
    width, height = (_largest(data, folder, tag) for tag in _TILE_SIZE)
    refuse_large((width, height), max_pixels, " in a tile")


def _largest(data: bytes, folder: _Tiff, tag: int) -> int:
    """The largest number under a tag; 0 where there is none."""
    found = (_numbers(data, folder, entry) for entry in folder.entries if entry.tag == tag)
    return max((number for numbers in found for number in numbers or ()), default=0)


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the first folder, or a strip or tile that it names, lies beyond the end."""
    folder = _tiff(data)
    if folder is None:
        return True
    found = [_numbers(data, folder, entry) for tag in _TILES for entry in folder.entries if entry.tag == tag]
    return any(numbers is None for numbers in found) or any(
        start + length > len(data)
        for starts, lengths in zip(found[::2], found[1::2], strict=False)
        for start, length in zip(starts or (), lengths or (), strict=False)
    )


def _numbers(data: bytes, folder: _Tiff, entry: _Entry) -> tuple[int, ...] | None:
    """An entry's numbers; None where they lie beyond the end."""
    width, letter = {3: (2, "H"), 8: (2, "H"), 16: (8, "Q")}.get(entry.type, (4, "I"))
    size = entry.amount * width
    if size <= len(entry.value):
        return struct.unpack_from(f"{folder.order}{entry.amount}{letter}", entry.value)
    (at,) = struct.unpack(folder.order + ("Q" if folder.wide else "I"), entry.value)
    if at + size > len(data):
        return None
    return struct.unpack_from(f"{folder.order}{entry.amount}{letter}", data, at)
