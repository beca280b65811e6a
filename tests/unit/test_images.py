"""Decoding: every kind of file comes out upright, 8-bit and RGB, and every bad one as one of four codes."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageChops, ImageFile

from trapline.errors import ConfigError, Permanent
from trapline.images import RGB, SUFFIXES, Image
from trapline.images.decoding import Header, decode

WIDTH, HEIGHT = 240, 160
TURNED_BACK = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}


def picture() -> Pillow.Image:
    """A gradient with a dark square at the top left and a red one at the bottom right: every turn shows."""
    x, y = np.meshgrid(np.linspace(120, 250, WIDTH), np.linspace(1.0, 0.6, HEIGHT))
    pixels = np.repeat((x * y)[..., None], 3, axis=2).astype(np.uint8)
    pixels[16:48, 16:64] = 20
    pixels[104:144, 168:216] = (200, 40, 30)
    return Pillow.fromarray(pixels)


def saved(image: Pillow.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(**options: Any) -> bytes:
    return saved(picture(), "JPEG", quality=92, **options)


def deep(grey: Pillow.Image) -> Pillow.Image:
    """The same grey picture in 16 bits."""
    return Pillow.fromarray(np.asarray(grey).astype(np.uint16) * 257)


def exif(**tags: Any) -> bytes:
    block = Pillow.Exif()
    block[0x0112] = tags.get("orientation", 1)
    if "taken" in tags:
        block.get_ifd(0x8769)[0x9003] = tags["taken"]
    if "offset" in tags:
        block.get_ifd(0x8769)[0x9011] = tags["offset"]
    return block.tobytes()


def turned(orientation: int) -> Pillow.Image:
    return picture().transpose(TURNED_BACK[orientation]) if orientation > 1 else picture()


def off(array: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(array.astype(int) - other.astype(int)).mean())


def png(width: int, height: int, body: bytes | None = None) -> bytes:
    """A grey PNG of any claimed size; its pixels are `body`, compressed."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(body if body is not None else b"\0" * 100_000)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def code(data: bytes, **options: Any) -> str:
    with pytest.raises(Permanent) as caught:
        Image(data, **options).full()
    assert caught.value.remedy
    return caught.value.code


PLAIN = np.asarray(picture())

KINDS: dict[str, tuple[bytes, float]] = {  # bytes, and how far from the plain picture they may come out on average
    "progressive JPEG": (jpeg(progressive=True), 3),
    "grey JPEG": (saved(picture().convert("L"), "JPEG"), 9),
    "CMYK JPEG": (saved(picture().convert("CMYK"), "JPEG", quality=92), 4),
    "PNG": (saved(picture(), "PNG"), 0),
    "RGBA PNG": (saved(picture().convert("RGBA"), "PNG"), 0),
    "grey PNG with alpha": (saved(picture().convert("LA"), "PNG"), 8),
    "16-bit grey PNG": (saved(deep(picture().convert("L")), "PNG"), 8),
    "palette PNG": (saved(picture().quantize(64), "PNG"), 6),
    "palette GIF": (saved(picture(), "GIF"), 6),
    "animated GIF": (saved(picture(), "GIF", save_all=True, append_images=[Pillow.new("RGB", (WIDTH, HEIGHT))]), 6),
    "animated WebP": (
        saved(picture(), "WEBP", save_all=True, append_images=[Pillow.new("RGB", (WIDTH, HEIGHT))], lossless=True), 0,
    ),
    "animated PNG": (saved(picture(), "PNG", save_all=True, append_images=[Pillow.new("RGB", (WIDTH, HEIGHT))]), 0),
    "lossy WebP": (saved(picture(), "WEBP", quality=90), 4),
    "MPO": (saved(picture(), "MPO", save_all=True, append_images=[Pillow.new("RGB", (WIDTH, HEIGHT))], quality=92), 3),
    "TIFF": (saved(picture(), "TIFF"), 0),
    "compressed TIFF": (saved(picture(), "TIFF", compression="tiff_lzw"), 0),
    "many-page TIFF": (saved(picture(), "TIFF", save_all=True, append_images=[Pillow.new("RGB", (9, 9))]), 0),
    "16-bit grey TIFF": (saved(deep(picture().convert("L")), "TIFF"), 8),
    "float TIFF": (saved(Pillow.fromarray(np.asarray(picture().convert("L")).astype(np.float32) / 255), "TIFF"), 8),
    "BMP": (saved(picture(), "BMP"), 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_comes_out_as_the_same_rgb_picture(kind: str) -> None:
    data, tolerance = KINDS[kind]
    pixels = Image(data).full()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert off(pixels, PLAIN) <= tolerance


def test_the_format_is_what_the_bytes_are() -> None:
    told = {name: Image(data).format for name, (data, _) in KINDS.items()}
    assert told["MPO"] == "MPO"
    assert told["progressive JPEG"] == "JPEG"
    assert {told["animated PNG"], told["animated WebP"], told["palette GIF"]} == {"PNG", "WEBP", "GIF"}
    assert {told["BMP"], told["float TIFF"]} == {"BMP", "TIFF"}


def test_a_one_bit_tiff_is_black_and_white() -> None:
    pixels = Image(saved(picture().convert("1", dither=Pillow.Dither.NONE), "TIFF", compression="group4")).full()
    assert set(np.unique(pixels)) == {0, 255}
    assert pixels[32, 40].tolist() == [0, 0, 0]


def test_sixteen_bits_are_scaled_by_their_range_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    pixels = Image(saved(Pillow.fromarray(deep), "PNG")).full()
    assert np.abs(pixels[..., 0].astype(int) - deep // 257).max() <= 1


def test_a_cmyk_jpeg_without_adobes_mark_holds_ink_as_it_is() -> None:
    adobe = saved(ImageChops.invert(picture().convert("CMYK")), "JPEG", quality=92)  # undoes what Pillow does on saving
    at = adobe.index(b"\xff\xee")
    length = int.from_bytes(adobe[at + 2 : at + 4], "big")
    assert off(Image(adobe[:at] + adobe[at + 2 + length :]).full(), PLAIN) < 4


def test_transparent_parts_are_white() -> None:
    layer = picture().convert("RGBA")
    layer.putalpha(0)
    assert (Image(saved(layer, "PNG")).full() == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_displayed_upright(format: str, orientation: int) -> None:
    image = Image(saved(turned(orientation), format, exif=exif(orientation=orientation)))
    assert (image.width, image.height, image.orientation) == (WIDTH, HEIGHT, orientation)
    assert off(image.full(), PLAIN) < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_scale_is_upright_too_and_maps_back_to_full_pixels(orientation: int) -> None:
    image = Image(saved(turned(orientation), "JPEG", exif=exif(orientation=orientation), quality=92))
    small = image.pixels(max_side=100)
    assert small.array.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert (small.scale_x, small.scale_y) == (2, 2)
    assert off(small.array, np.asarray(picture().reduce(2))) < 5


@pytest.mark.parametrize(
    ("asked", "width"),
    [({}, 240), ({"max_side": 240}, 240), ({"max_side": 121}, 240), ({"max_side": 120}, 120), ({"max_side": 31}, 60),
     ({"max_side": 30}, 30), ({"min_side": 80}, 120), ({"min_side": 81}, 240), ({"max_side": 5000}, 240)],
)  # fmt: skip
def test_jpeg_is_decoded_at_the_smallest_scale_that_is_no_smaller_than_asked(asked: dict[str, int], width: int) -> None:
    assert Image(jpeg()).pixels(**asked).array.shape[1] == width


def test_odd_sizes_keep_every_pixel_column_at_a_reduced_scale() -> None:
    odd = Image(saved(picture().crop((0, 0, 239, 157)), "JPEG"))
    small = odd.pixels(max_side=100)
    assert small.array.shape[:2] == (79, 120)
    assert small.scale_x == pytest.approx(239 / 120)


def test_bytes_are_decoded_once_per_scale_until_released(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load = ImageFile.ImageFile.load

    def counted(self: ImageFile.ImageFile) -> Any:
        loads.append(self)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    image = Image(jpeg())
    first = image.full()
    decodes = len(loads)
    assert image.full() is first
    image.pixels(max_side=240)
    assert len(loads) == decodes
    image.release()
    assert image.full() is not first
    assert len(loads) == 2 * decodes


def test_nothing_is_decoded_to_tell_the_size() -> None:
    cut = jpeg()[:1500]
    assert (Image(cut).width, Image(cut).format) == (WIDTH, "JPEG")


def test_decoded_pixels_cannot_be_changed_for_the_next_reader() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Image(jpeg()).full()[0, 0] = 0


def test_a_crop_is_a_square_around_the_box() -> None:
    crop = Image(saved(picture(), "PNG")).crop((168, 104, 216, 144), 48)
    assert crop.shape == (48, 48, 3)
    assert np.abs(crop[6:42, 2:46].astype(int) - (200, 40, 30)).max() <= 2
    assert crop[1].mean() > 100


def test_a_crop_beyond_the_edge_repeats_the_edge() -> None:
    crop = Image(saved(picture(), "PNG")).crop((-40, -40, 8, 8), 48)
    assert np.abs(crop[:30, :30].astype(int) - PLAIN[0, 0]).max() <= 1


def test_a_crop_of_any_box_is_a_crop() -> None:
    image, rng = Image(saved(picture(), "PNG")), np.random.default_rng(6)
    for x, y, width, height in rng.uniform(0, 1, (3000, 4)) * (WIDTH, HEIGHT, 150, 150):
        box = (round(x, 1), round(y, 1), round(x + width, 1), round(y + height, 1))
        assert image.crop(box, 16, margin=0.1).shape == (16, 16, 3)


def test_a_crop_reads_the_same_whatever_was_decoded_before() -> None:
    fresh, used = Image(jpeg()), Image(jpeg())
    used.full()
    used.pixels(max_side=30)
    box = (16.0, 16.0, 112.0, 100.0)
    assert (fresh.crop(box, 32, margin=0.1) == used.crop(box, 32, margin=0.1)).all()


def test_crops_of_one_picture_come_from_one_decoding_as_fine_as_the_smallest_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    divisors = list[int]()

    def noted(data: bytes, head: Header, divisor: int) -> RGB:
        divisors.append(divisor)
        return decode(data, head, divisor)

    monkeypatch.setattr("trapline.images.image.decode", noted)
    data = saved(picture().resize((1600, 1200)), "JPEG")
    small, large = (100.0, 100.0, 150.0, 150.0), (300.0, 300.0, 900.0, 900.0)
    image = Image(data)
    together = image.crops([large, small], 48)
    assert [crop.shape for crop in together] == [(48, 48, 3)] * 2
    assert (together[1] == Image(data).crop(small, 48)).all()
    assert divisors == [1, 1]
    assert Image(data).crops([], 48) == []
    divisors.clear()
    image.release()
    assert len(image.crops([small, *[large] * 9], 48)) == 10, "many large ones are not all cut from the finest"
    assert divisors == [1, 8]


@pytest.mark.parametrize(
    ("tags", "zone", "expected"),
    [
        ({"taken": "2026:07:18 23:05:09"}, None, "2026-07-18T23:05:09"),
        ({"taken": "2026:07:18 23:05:09"}, "Europe/Copenhagen", "2026-07-18T23:05:09+02:00"),
        ({"taken": "2026:11:20 23:05:09"}, "Europe/Copenhagen", "2026-11-20T23:05:09+01:00"),
        ({"taken": "2026:07:18 23:05:09", "offset": "-03:00"}, "Europe/Copenhagen", "2026-07-18T23:05:09-03:00"),
        ({"taken": "2026:07:18 23:05:09", "offset": "nonsense"}, None, "2026-07-18T23:05:09"),
        ({"taken": "0000:00:00 00:00:00"}, "Europe/Copenhagen", None),
        ({"taken": "yesterday"}, None, None),
        ({}, "Europe/Copenhagen", None),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_capture_time_has_the_cameras_offset_or_the_stations(
    format: str, tags: dict[str, str], zone: str | None, expected: str | None
) -> None:
    assert Image(saved(picture(), format, exif=exif(**tags)), timezone=zone).captured_at == expected


def test_an_unknown_time_zone_is_named_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"'Mars/Base'.*Europe/Copenhagen"):
        Image(jpeg(), timezone="Mars/Base")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_costs_the_capture_time_and_not_the_picture() -> None:
    whole = jpeg(exif=exif(taken="2026:07:18 23:05:09"))
    at = whole.index(b"Exif\0\0") + 6
    broken = Image(whole[: at + 8] + b"\xff" * 40 + whole[at + 48 :])
    assert broken.captured_at is None
    assert off(broken.full(), PLAIN) < 4


def test_no_bytes_are_an_empty_file() -> None:
    assert code(b"") == "empty_file"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_truncated(format: str, share: float) -> None:
    grain = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = saved(Pillow.fromarray(grain), format)
    assert code(data[: int(len(data) * share)]) == "image_truncated"


def test_a_progressive_jpeg_cut_short_is_truncated() -> None:
    data = jpeg(progressive=True)
    assert code(data[: len(data) * 2 // 3]) == "image_truncated"


def test_a_jpeg_whose_tail_was_never_written_is_truncated() -> None:
    data = jpeg()
    half = len(data) // 2
    assert code(data[:half] + b"\0" * (len(data) - half)) == "image_truncated"


def test_a_truncated_jpeg_is_truncated_at_every_scale() -> None:
    with pytest.raises(Permanent, match="ends before"):
        Image(jpeg()[:-200]).pixels(max_side=30)


@pytest.mark.parametrize(
    "data",
    [
        b"Battery low, card swapped.\r\n",
        b"<html>404</html>",
        b"\0" * 5000,
        b"\x89PNG\r\n\x1a\n" + np.random.default_rng(2).bytes(4000),
        png(64, 64, b"")[:33] + np.random.default_rng(3).bytes(4000),
        b"\xff\xd8\xff" + np.random.default_rng(4).bytes(4000),
        b"GIF89a" + b"\0" * 30 + b"\x3b",
        b"%PDF-1.7\n",
        b"8BPS\0\1" + b"\0" * 200,
        saved(picture(), "PPM"),
        saved(picture(), "ICO"),
        saved(picture(), "JPEG2000") if "JPEG2000" in Pillow.SAVE else b"jP",
    ],
    ids=["text", "html", "zeros", "png noise", "png header and noise", "jpeg noise", "gif without frames", "pdf", "psd",
         "ppm", "ico", "jpeg 2000"],
)  # fmt: skip
def test_what_is_no_image_of_a_known_format_is_unreadable(data: bytes) -> None:
    assert code(data) == "image_unreadable"


def huge() -> dict[str, bytes]:
    gif = bytearray(saved(Pillow.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    bmp = bytearray(saved(Pillow.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 40000, 40000)
    jpg = bytearray(saved(Pillow.new("RGB", (8, 8)), "JPEG"))
    at = jpg.index(b"\xff\xc0")
    jpg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\x3f\0" * 2
    tiff = bytearray(saved(Pillow.new("L", (8, 8)), "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<H", tag))
        tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 50000)
    return {"PNG": png(20_000, 20_000), "GIF": bytes(gif), "BMP": bytes(bmp), "JPEG": bytes(jpg), "WEBP": webp,
            "TIFF": bytes(tiff)}  # fmt: skip


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "JPEG", "WEBP", "TIFF"])
def test_too_many_pixels_are_refused_by_the_header_with_flat_memory(format: str) -> None:
    data = huge()[format]
    tracemalloc.start()
    try:
        assert code(data) == "image_too_large"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_callers() -> None:
    assert code(jpeg(), max_pixels=WIDTH * HEIGHT - 1) == "image_too_large"
    assert Image(jpeg(), max_pixels=WIDTH * HEIGHT).full().shape == (HEIGHT, WIDTH, 3)


def test_a_chunk_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    bomb = b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb + struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    whole = png(64, 64)
    tracemalloc.start()
    try:
        assert code(whole[:33] + chunk + whole[33:]) == "image_unreadable"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks about damaged EXIF
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "MPO"])
def test_no_damage_ever_raises_anything_but_a_failure(format: str) -> None:
    whole = saved(picture(), format, **({"exif": exif(taken="2026:07:18 23:05:09")} if format != "BMP" else {}))
    rng = np.random.default_rng(5)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 900) if rng.random() < 0.7 else len(data), rng.integers(1, 12)):
            data[at] = rng.integers(256)
        image = Image(bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data), max_pixels=10**7)
        try:
            image.pixels(max_side=60)
            assert image.full().ndim == 3
            assert image.captured_at is None or "T" in image.captured_at
        except Permanent as failure:
            assert failure.code.startswith("image_")


def test_a_library_that_has_pillow_accept_truncated_files_does_not_change_what_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = io.BytesIO()
    Pillow.fromarray(np.zeros((40, 40, 3), np.uint8)).save(whole, "PNG")
    with pytest.raises(Permanent, match="ends before"):
        Image(whole.getvalue()[:-40]).full()


def test_suffixes_are_lower_case_with_their_dot() -> None:
    assert {".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".mpo"} == SUFFIXES
