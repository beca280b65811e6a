"""Every hostile file with what becomes of it. `what` is the row of docs/reference/hostile-inputs.md that it proves."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from tests.hostile import foreign
from tests.hostile.building import (
    PNG,
    blocks,
    bmp,
    chunk,
    exif,
    flat_png,
    gif,
    jpeg,
    jpeg_sized,
    many_scans,
    picture,
    plain,
    png,
    saved,
    segment,
    tiff,
    webp_sized,
    with_chunk,
    zeros,
)

# What the pipeline reads, by its suffix.
FORMATS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "MPO": "mpo"}
MIB = 2**20
DONE = "done"
CUT = "cut short anywhere after its header"
TRUNCATED, UNREADABLE, LARGE, EMPTY = "image_truncated", "image_unreadable", "image_too_large", "empty_file"


@dataclass(frozen=True)
class File:
    """One hostile file."""

    name: str
    data: bytes
    fate: str  # `done`, or a failure code
    what: str


@functools.cache
def corpus() -> tuple[File, ...]:
    """All of them; made once."""
    found = (*cut(), *wrong(), *other_formats(), *large(), *bombs(), *loops(), *texts(), *exifs(), *polyglots())
    assert len({file.name for file in found}) == len(found)
    return found


def cut() -> Iterator[File]:
    """Each format, cut short at many places."""
    for form, suffix in FORMATS.items():
        data = plain(form)
        for share in (0.02, 0.3, 0.6, 0.9):
            name = f"cut-{int(share * 100):02}.{suffix}"
            fate = _cut_pictures() if form == "MPO" and share > 0.5 else (TRUNCATED, CUT)
            yield File(name, data[: max(12, int(len(data) * share))], *fate)
        yield File(f"cut-at-two.{suffix}", data[:2], *_two_bytes(form))
    for form in ("JPEG", "PNG", "WEBP"):
        yield File(f"cut-last-{form.lower()}.jpg", plain(form)[:-200], TRUNCATED, CUT)
    half = plain("JPEG")[: len(plain("JPEG")) // 2]
    yield File("zeros-for-tail.jpg", half + bytes(len(half)), TRUNCATED, "a JPEG whose second half was never written")


def _cut_pictures() -> tuple[str, str]:
    return DONE, "a file of several pictures whose first is whole"


def _two_bytes(form: str) -> tuple[str, str]:
    """A BMP is known by two bytes; of the others so little is no format at all."""
    told = "cut short before its format shows"
    return (TRUNCATED, CUT) if form == "BMP" else (UNREADABLE, told)


def wrong() -> Iterator[File]:
    """Files that are no image, or none behind their first bytes."""
    noise = random.Random(3).randbytes
    no_image = "something else under an image's name"
    yield File("empty.jpg", b"", EMPTY, "no bytes at all")
    yield File("empty.png", b"", EMPTY, "no bytes at all")
    yield File("text.jpg", b"This is the shopping list of the ranger.\n" * 50, UNREADABLE, no_image)
    yield File("page.jpg", b"<!doctype html><script>alert(1)</script>", UNREADABLE, no_image)
    yield File("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", UNREADABLE, no_image)
    yield File("archive.jpg", _zipped(), UNREADABLE, no_image)
    yield File("document.jpg", b"%PDF-1.7\n" + bytes(400), UNREADABLE, no_image)
    yield File("program.jpg", b"\x7fELF" + bytes(400), UNREADABLE, no_image)
    yield File("film.jpg", b"\0\0\0\x18ftypmp42" + bytes(400), UNREADABLE, no_image)
    yield File(
        "pickle.png", b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93", UNREADABLE, no_image
    )
    yield File("zeros.jpg", bytes(5000), UNREADABLE, no_image)
    behind = "the first bytes of a format, and then noise"
    for form, suffix in FORMATS.items():
        if form != "MPO":
            yield File(
                f"noise.{suffix}", plain(form)[: 30 if form == "WEBP" else 8] + noise(50_000), *_noise(form, behind)
            )
    yield File("noise-in-scan.jpg", _spoilt(plain("JPEG")), DONE, "wrong bytes inside a JPEG's picture")
    yield File("noise-in-pixels.png", _spoilt(plain("PNG")), UNREADABLE, "wrong bytes inside a compressed picture")
    yield File("no-frame.gif", b"GIF89a" + bytes(30) + b";", UNREADABLE, "a header without a picture")
    yield File(
        "no-pixels.png", PNG + plain("PNG")[8:33] + chunk(b"IEND", b""), UNREADABLE, "a header without a picture"
    )
    yield File("no-size.jpg", plain("JPEG").replace(b"\xff\xc0", b"\xff\xe5"), UNREADABLE, "a header without a picture")


def _noise(form: str, behind: str) -> tuple[str, str]:
    """Noise where a format says where its bytes are may as well be a file that is cut short."""
    early = ("GIF", "BMP", "TIFF")
    return (TRUNCATED, "a header that points beyond the end of the file") if form in early else (UNREADABLE, behind)


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x15 for byte in data[middle : middle + 40]) + data[middle + 40 :]


def _zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x.jpg", bytes(MIB))
    return out.getvalue()


def other_formats() -> Iterator[File]:
    """Pillow would open these; the pipeline does not, whatever they are called."""
    for form, data in foreign.files().items():
        yield File(
            f"format-{form.lower()}.jpg", data, UNREADABLE, "a format that is not read (EPS, PSD, HEIC, JPEG 2000, …)"
        )


def large() -> Iterator[File]:
    """More pixels than are allowed, said by the header."""
    what = "more pixels than `images.max_pixels`"
    yield File("large.jpg", jpeg_sized(60_000, 60_000), LARGE, what)
    yield File("large.png", flat_png(12_000), LARGE, what)
    yield File("large-says.png", png(2**31 - 1, 2**31 - 1, b""), LARGE, what)
    yield File("large.gif", gif(60_000, 60_000), LARGE, what)
    yield File("large.webp", webp_sized(16_384, 16_384), LARGE, what)
    yield File("large-lossless.webp", webp_sized(16_383, 16_383, b"VP8L"), LARGE, what)
    yield File("large.bmp", bmp(40_000, 40_000, 0, bytes(400)), LARGE, what)
    yield File("large.tif", tiff({256: (4, 1, 50_000), 257: (4, 1, 50_000)}), LARGE, what)
    yield File("large-big.tif", tiff({256: (4, 1, 2**31), 257: (4, 1, 2**31)}, big=True), LARGE, what)
    webp = "a WebP of more than half, a packed BMP of more than a quarter of `images.max_pixels`"
    yield File("half.webp", webp_sized(7_100, 7_100, b"VP8L"), LARGE, webp)
    yield File("quarter.bmp", bmp(10_000, 10_000, 1, b"\0\2\0\xff" * 10 + b"\0\1"), LARGE, webp)
    side = "a side of more than 65,535 pixels"
    yield File("wide.png", png(100_000_000, 1, b""), LARGE, side)
    yield File("tall.png", png(1, 100_000_000, b""), LARGE, side)
    yield File("wide.bmp", bmp(70_000, 1, 0, bytes(70_000)), LARGE, side)
    yield File("wide.tif", tiff({256: (4, 1, 70_000), 257: (4, 1, 1)}), LARGE, side)


def bombs() -> Iterator[File]:
    """Small files that would unpack to gigabytes."""
    unpacked = "compressed text, a profile or pixels that unpack to far more than the picture"
    yield File("bomb-ztxt.png", with_chunk(b"zTXt", b"Comment\0\0" + zeros(50 * MIB)), UNREADABLE, unpacked)
    yield File("bomb-itxt.png", with_chunk(b"iTXt", b"x\0\1\0\0\0" + zeros(50 * MIB)), UNREADABLE, unpacked)
    yield File("bomb-iccp.png", with_chunk(b"iCCP", b"x\0\0" + zeros(50 * MIB)), UNREADABLE, unpacked)
    yield File("bomb-late.png", with_chunk(b"zTXt", b"x\0\0" + zeros(50 * MIB), last=True), UNREADABLE, unpacked)
    yield File("bomb-pixels.png", png(64, 64, zeros(50 * MIB)), DONE, "more compressed pixels than the picture has")
    tile = "a TIFF with an absurd tile, or tags of absurd length"
    tiled = (273, 278, 279)
    huge_tile = {322: (4, 1, 30_000), 323: (4, 1, 30_000), 324: (4, 1, 4096), 325: (4, 1, 4096), 259: (3, 1, 8)}
    yield File("bomb-tile.tif", tiff(huge_tile, without=tiled, body=zeros(MIB)), LARGE, tile)
    yield File("bomb-tile-big.tif", tiff(huge_tile, without=tiled, big=True), LARGE, tile)
    yield File("bomb-strips.tif", tiff({273: (4, 3 * MIB, 4096)}, body=bytes(12 * MIB)), UNREADABLE, tile)
    yield File("bomb-bits.tif", tiff({258: (3, MIB, 4096)}, body=bytes(2 * MIB)), UNREADABLE, tile)
    yield File(
        "beyond-the-end.tif",
        tiff({273: (4, 1, 2**31)}),
        TRUNCATED,
        "a header that points beyond the end of the file",
    )
    yield File("samples.tif", tiff({277: (3, 1, 65_535)}), UNREADABLE, tile)
    small = Image.new("P", (16, 16))
    yield File("frames.gif", gif(16, 16, times=2_000), DONE, "thousands of frames: the first alone is read")
    frames = [Image.new("P", (16, 16), n % 255) for n in range(300)]
    animated = saved(small, "PNG", save_all=True, append_images=frames)
    yield File("frames.png", animated, DONE, "thousands of frames: the first alone is read")


def loops() -> Iterator[File]:
    """Files that would keep a reader busy."""
    busy = "thousands of empty segments, chunks, text blocks or scans"
    yield File("segments.jpg", jpeg(segment(0xE0, b"") * 500_000), UNREADABLE, busy)
    yield File("fill.jpg", jpeg(b"\xff" * 5_000_000), UNREADABLE, busy)
    yield File("scans.jpg", many_scans(4_000), UNREADABLE, busy)
    yield File(
        "chunks.png",
        with_chunk(b"prVt", b"")[:45] + chunk(b"prVt", b"") * 300_000 + plain("PNG")[33:],
        UNREADABLE,
        busy,
    )
    yield File("comment.gif", gif(16, 16, before=blocks(bytes(200_000), 1)), UNREADABLE, busy)
    yield File("extensions.gif", gif(16, 16, before=b"!\xf9\0" * 500_000), UNREADABLE, busy)
    yield File("packed.bmp", bmp(64, 64, 1, b"\1\1" * 4 * MIB), UNREADABLE, busy)
    yield File(
        "never-ending-row.bmp",
        bmp(64, 64, 1, b"\0\2\1\0" * 2_000),
        UNREADABLE,
        "pixels of a packed BMP that jump about",
    )
    yield File("own-folder.tif", tiff({330: (4, 1, 8), 34665: (4, 1, 8)}), DONE, "folders that lead to themselves")


def texts() -> Iterator[File]:
    """Damaged or hostile text and profiles beside a good picture."""
    beside = "a junk profile, thumbnail, comment or text beside a good picture"
    yield File(
        "profile.jpg", jpeg(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + random.Random(5).randbytes(60_000))), DONE, beside
    )
    yield File("profile-parts.jpg", jpeg(*[segment(0xE2, b"ICC_PROFILE\0\x09\xff" + bytes(9))] * 300), DONE, beside)
    yield File("profile.png", with_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3000))), DONE, beside)
    yield File("profile.webp", saved(picture(), "WEBP", icc_profile=b"junk" * 4000), DONE, beside)
    yield File("profile.tif", saved(picture(), "TIFF", icc_profile=b"\xff" * 9000), DONE, beside)
    yield File("comment.jpg", jpeg(segment(0xFE, b"<script>alert(1)</script>\0=cmd|'/c calc'!A1")), DONE, beside)
    yield File("photoshop.jpg", jpeg(segment(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 500)), DONE, beside)
    yield File("pictures.jpg", jpeg(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 200)), DONE, beside)
    yield File("xmp.jpg", jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<a>" * 20_000)), DONE, beside)
    yield File("text.png", with_chunk(b"tEXt", b"Comment\0<script>alert(1)</script>"), DONE, beside)
    broken = "a chunk whose check sum is wrong"
    data = bytearray(with_chunk(b"gAMA", struct.pack(">I", 45455)))
    data[45] ^= 0xFF
    yield File("checksum.png", bytes(data), UNREADABLE, broken)


def exifs() -> Iterator[File]:
    """EXIF that is huge, overlaps, loops or lies."""
    bad = "huge, overlapping, looping or nonsensical EXIF beside a good picture"
    wide = exif(*((1000 + n, 7, 60_000, 8) for n in range(5_000)))
    many = exif(*((1000 + n, 7, 4 * MIB, 8) for n in range(5_400)))
    more = [segment(0xE1, many)] + [segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 70
    yield File("exif-huge.jpg", jpeg(*[segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 160), DONE, bad)
    yield File("exif-overlap.jpg", jpeg(segment(0xE1, wide)), DONE, bad)
    yield File("exif-overlap-parts.jpg", jpeg(*more), DONE, bad)
    yield File(
        "exif-overlap.png", with_chunk(b"eXIf", exif(*((n, 7, 600_000, 8) for n in range(60_000)))[6:]), DONE, bad
    )
    yield File("exif-overlap.webp", saved(picture(), "WEBP", exif=many), DONE, bad)
    yield File("exif-overlap.tif", tiff({40_000 + n: (7, 8_000, 8) for n in range(300)}), DONE, bad)
    yield File("exif-loop.jpg", jpeg(segment(0xE1, exif((0x8769, 4, 1, 8), then=8))), DONE, bad)
    yield File("exif-beyond.jpg", jpeg(segment(0xE1, exif((0x8769, 4, 1, 2**31), (0x0112, 3, 2**31, 8)))), DONE, bad)
    yield File("exif-turn.jpg", jpeg(segment(0xE1, exif((0x0112, 3, 1, 77)))), DONE, bad)
    date = exif(
        (0x8769, 4, 1, 26), after=struct.pack("<HHHII", 1, 0x9003, 2, 30, 48) + b"=cmd|'/c calc'!A1\0\n\r" + bytes(9)
    )
    yield File("exif-date.jpg", jpeg(segment(0xE1, date)), DONE, bad)
    yield File("exif-noise.jpg", jpeg(segment(0xE1, b"Exif\0\0" + random.Random(6).randbytes(4000))), DONE, bad)


def polyglots() -> Iterator[File]:
    """Good pictures that are something else as well."""
    both = "a good picture that is an archive, a script or a page as well"
    script = b"/*" + b"*/=1;alert(document.domain)//"
    yield File("zip.jpg", plain("JPEG") + _zipped(), DONE, both)
    yield File("script.gif", plain("GIF")[:-1] + b"!\xfe" + bytes([len(script)]) + script + b"\0;", DONE, both)
    yield File("page.png", plain("PNG") + b"<html><script>alert(1)</script></html>", DONE, both)
    yield File("php.jpg", jpeg(segment(0xFE, b"<?php system($_GET['x']); ?>")), DONE, both)
    yield File("pdf.jpg", jpeg(segment(0xFE, b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF")), DONE, both)
    yield File("two.jpg", plain("JPEG") * 2, DONE, both)
    yield File("png.jpg", plain("PNG"), DONE, "a good picture under another format's suffix")
    yield File("jpeg.tif", plain("JPEG"), DONE, "a good picture under another format's suffix")
