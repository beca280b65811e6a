"""The function crop, on pictures made here."""

from __future__ import annotations

import hashlib
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from functions.crop.handler import Crop
from tests.functions_items import Item, detection, parameters
from trapline.errors import ConfigError, Failure, Permanent
from trapline.images import Image


def picture(width: int = 640, height: int = 480, **options: Any) -> Image:
    """A smooth picture: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, **({"format": "PNG"} | options))
    return Image(out.getvalue())


def cropped(image: Image, *detections: dict[str, Any], **given: Any) -> tuple[dict[str, Any], Item]:
    item = Item(image, list(detections), parameters("crop", **given))
    function = Crop()
    function.setup(SimpleNamespace(parameters=item.parameters))
    (record,) = function.handle([item])
    assert isinstance(record, dict), record
    return record, item


def refused(image: Image, *detections: dict[str, Any], **given: Any) -> Failure:
    (failure,) = Crop().handle([Item(image, list(detections), parameters("crop", **given))])
    assert isinstance(failure, Permanent)
    assert not failure.retry
    return failure


def opened(data: bytes) -> Pillow.Image:
    file = Pillow.open(io.BytesIO(data))
    assert file.format == "JPEG"
    return file


def test_each_detection_has_a_file_of_its_own_that_the_record_names() -> None:
    record, item = cropped(picture(), detection("d0001", 100, 50, 200, 100), detection("d0002", 300, 200, 340, 280))
    assert sorted(item.files) == ["d0001.jpg", "d0002.jpg", "thumbnail.jpg"]
    assert record["crops"] == {"made": 2, "left_out": 0}
    for row in record["detections"]:
        crop, data = row["crop"], item.files[f"{row['id']}.jpg"]
        assert crop["key"] == f"files/x/{row['id']}.jpg"
        assert crop["sha256"] == hashlib.sha256(data).hexdigest()
        assert (crop["size"], crop["width"], crop["height"]) == (len(data), *opened(data).size)


def test_a_crop_shows_its_box_with_the_margin_and_is_never_enlarged() -> None:
    record, item = cropped(picture(), detection("d0001", 100, 50, 200, 100), margin=0.1)
    crop = record["detections"][0]["crop"]
    assert (crop["width"], crop["height"]) == (120, 70)  # a tenth of the longer side on every side
    pixels = np.asarray(opened(item.files["d0001.jpg"]), float)
    assert pixels[35, 0, 0] == pytest.approx(90 / 640 * 255, abs=4)
    assert pixels[35, -1, 0] == pytest.approx(209 / 640 * 255, abs=4)
    assert pixels[0, 60, 1] == pytest.approx(40 / 480 * 255, abs=4)


def test_a_large_crop_is_scaled_to_the_size_and_keeps_its_shape() -> None:
    record, item = cropped(picture(), detection("d0001", 20, 20, 620, 320), size=128, margin=0)
    crop = record["detections"][0]["crop"]
    assert (crop["width"], crop["height"]) == (128, 64)
    pixels = np.asarray(opened(item.files["d0001.jpg"]), float)
    assert pixels[32, 64, 0] == pytest.approx(320 / 640 * 255, abs=4)
    whole, _ = cropped(picture(), detection("d0001", 20, 20, 620, 320), size=None, margin=0)
    assert whole["detections"][0]["crop"]["width"] == 600


def test_at_full_resolution_a_crop_has_the_pictures_own_pixels() -> None:
    image = picture(800, 600, format="JPEG", quality=95)
    box = (100.0, 40.0, 228.0, 168.0)
    (pixels,) = image.cuts([box], [(128, 128)])
    assert (pixels == image.full()[40:168, 100:228]).all()


@pytest.mark.parametrize(("padding", "corner"), [("edge", 0), ("black", 0), ("white", 255), ("grey", 128)])
def test_a_square_at_the_edge_is_filled_as_the_parameter_says(padding: str, corner: int) -> None:
    record, item = cropped(picture(), detection("d0001", 0, 0, 40, 100), square=True, padding=padding, margin=0)
    crop = record["detections"][0]["crop"]
    assert (crop["width"], crop["height"]) == (100, 100)
    beyond = np.asarray(opened(item.files["d0001.jpg"]), float)[50, 4]
    assert beyond[0] == pytest.approx(corner, abs=6)
    if padding == "edge":
        assert beyond[1] == pytest.approx(50 / 480 * 255, abs=6)


def test_without_padding_a_crop_ends_where_the_picture_does() -> None:
    record, _ = cropped(picture(), detection("d0001", 600, 440, 700, 500), margin=0.5)
    crop = record["detections"][0]["crop"]
    assert (crop["width"], crop["height"]) == (60, 60)


def test_the_most_confident_are_kept_and_the_rest_is_counted() -> None:
    found = [detection(f"d{n:04d}", n, n, n + 20, n + 20, confidence=n / 100) for n in range(1, 9)]
    record, item = cropped(picture(), *found, most=3)
    assert [row["id"] for row in record["detections"]] == ["d0006", "d0007", "d0008"]
    assert record["crops"] == {"made": 3, "left_out": 5}
    assert len(item.files) == 4


def test_an_image_without_detections_has_a_thumbnail_alone() -> None:
    record, item = cropped(picture())
    assert record["crops"] == {"made": 0, "left_out": 0}
    assert "detections" not in record
    assert (record["thumbnail"]["width"], record["thumbnail"]["height"]) == (512, 384)
    assert list(item.files) == ["thumbnail.jpg"]
    none, item = cropped(picture(), detection("d0001", 5, 5, 30, 30), thumbnail=0)
    assert "thumbnail" not in none
    assert list(item.files) == ["d0001.jpg"]


def test_a_small_pictures_thumbnail_is_not_enlarged() -> None:
    record, _ = cropped(picture(100, 60))
    assert (record["thumbnail"]["width"], record["thumbnail"]["height"]) == (100, 60)


def test_a_turned_camera_gives_an_upright_crop_without_a_tag() -> None:
    tag = Pillow.Exif()
    tag[0x0112] = 6
    image = picture(640, 480, exif=tag.tobytes())
    assert (image.width, image.height) == (480, 640)
    record, item = cropped(image, detection("d0001", 0, 500, 100, 640), margin=0)
    crop = opened(item.files["d0001.jpg"])
    assert crop.size == (100, 140)
    assert crop.getexif().get(0x0112) is None
    assert np.asarray(crop, float)[-1, 50, 0] > 240  # what was at the right is at the bottom
    assert record["thumbnail"]["height"] == 512


def test_a_picture_is_decoded_no_finer_than_its_crops_need(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(3200, 2400, format="JPEG")
    decoded: list[int] = []
    at = image._at

    def counted(divisor: int) -> Any:
        decoded.append(divisor)
        return at(divisor)

    monkeypatch.setattr(image, "_at", counted)
    cropped(image, detection("d0001", 0, 0, 2000, 2000), size=256, thumbnail=300)
    assert set(decoded) == {8}


def test_a_thousand_detections_are_a_thousand_files() -> None:
    found = [
        detection(f"d{n:04d}", n % 40 * 15, n // 40 * 18, n % 40 * 15 + 14, n // 40 * 18 + 16) for n in range(1000)
    ]
    record, item = cropped(picture(), *found, most=1000)
    assert len(record["detections"]) == 1000
    assert len(item.files) == 1001


def test_an_id_that_can_be_no_file_name_gets_one() -> None:
    odd = ["../x", "a b", "thumbnail", "ä", "x" * 200]
    record, item = cropped(picture(), *(detection(ident, 5, 5, 60, 60) for ident in odd))
    assert [row["id"] for row in record["detections"]] == odd
    assert len(item.files) == 6
    assert all(name.startswith("id-") for name in item.files if name != "thumbnail.jpg")


def test_what_cannot_be_cut_out_is_told_in_one_line() -> None:
    good = detection("d0001", 5, 5, 60, 60)
    assert "Detection 2 has no id" in refused(picture(), good, {"box": [1, 2, 3, 4]}).message
    assert "Detection 1 has the id '7', which is no text" in refused(picture(), good | {"id": 7}).message
    assert "Two detections have the id 'd0001'" in refused(picture(), good, good).message
    outside = refused(picture(), detection("d0001", 700, 5, 760, 60))
    assert "[700, 5, 760, 60], outside its picture of 640 x 480" in outside.message
    assert "which holds nothing" in refused(picture(), detection("d0001", 60, 5, 5, 60)).message
    assert "has the box None" in refused(picture(), {"id": "d0001"}).message
    nan = refused(picture(), detection("d0001", float("nan"), 5, 60, 60))
    assert nan.code == "function_output"
    assert refused(Image(b"no image"), good).code == "image_unreadable"


def test_parameters_that_contradict_each_other_are_refused_before_any_image() -> None:
    for chosen, words in (
        ({"square": True, "padding": "none"}, "is no square"),
        ({"most": 0, "thumbnail": 0}, "nothing would be written"),
    ):
        with pytest.raises(Permanent, match=words):
            Crop().setup(SimpleNamespace(parameters=parameters("crop", **chosen)))
    with pytest.raises(ConfigError, match=r"stages\.crop\.parameters\.size"):
        parameters("crop", size=4)


def test_one_bad_image_costs_its_batch_nothing() -> None:
    chosen = parameters("crop")
    good, bad = Item(picture(), [], chosen), Item(Image(b""), [], chosen)
    answers = Crop().handle([good, bad, Item(picture(), [], chosen)])
    assert [getattr(answer, "code", "done") for answer in answers] == ["done", "empty_file", "done"]


SIDES = st.floats(-50, 700, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(SIDES, SIDES, st.floats(0.2, 900), st.floats(0.2, 900)),
    st.sampled_from([None, 16, 100, 300]),
    st.sampled_from([0, 0.1, 2]),
    st.booleans(),
    st.sampled_from([None, "none", "edge", "white"]),
)
def test_any_box_that_touches_the_picture_becomes_a_crop_of_the_size_asked_for(
    box: tuple[float, float, float, float], size: int | None, margin: float, square: bool, padding: str | None
) -> None:
    left, top, width, height = box
    assume(left < 160 and top < 120 and left + width > 0 and top + height > 0 and not (square and padding == "none"))
    found = detection("d0001", left, top, left + width, top + height)
    record, item = cropped(SMALL, found, size=size, margin=margin, square=square, padding=padding, thumbnail=0)
    crop = record["detections"][0]["crop"]
    assert opened(item.files["d0001.jpg"]).size == (crop["width"], crop["height"])
    if size:
        assert max(crop["width"], crop["height"]) <= size
    if square:
        assert crop["width"] == crop["height"]


SMALL = picture(160, 120)
