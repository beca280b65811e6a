"""report.html in a real browser: it opens, asks nobody for anything, runs nothing of anybody's, and can be read."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page

from tests.nights import JOB, NIGHT, SHA, Job, answers, done, failed, members
from trapline.runtime.items import Member

LARGEST = 20_000_000  # bytes of the report of 500 images
OPENS = 2.0  # seconds
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
HOSTILE = (
    "<script>window.pwned = 1</script>",
    '"><img src=https://evil.example/x.png onerror="window.pwned = 1">',
    "</script></style></title><svg onload=window.pwned=1>",
    "' onmouseover=window.pwned=1 x='",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egpj.exe\u2066",
    "javascript:window.pwned=1",
    "l" * 10_000,
    "\u0000\u001b[31m\ud800",
)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample night."""
    said = "".join(
        f"IMG_{number:04d}.JPG,d0001,{label}\n" for number, label in ((2, "hawkmoth"), (3, "wasp"), (5, "blank"))
    )
    review = ("file,detection_id,label\n" + said.replace("IMG", f"{JOB}/DCIM/100MEDIA/IMG")).encode()
    gone = (f"{JOB}/DCIM/gone.JPG",)
    return compiled(tmp_path_factory.mktemp("night"), list(members(28)), not_received=gone, review=review)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a job in which every name is an attack."""
    known = next(iter(known for known in answers().values() if known.get("detections")))
    jobs: list[Member] = []
    for number, text in enumerate(HOSTILE):
        found = [
            {**known["detections"][0], "id": text, "label": text, "classifications": [{"label": text, "score": 0.5}]}
        ]
        jobs.append(done(f"{JOB}/{number}{text}/IMG_0002.JPG", {**known, "detections": found}))
        jobs.append(failed(f"{JOB}/{number}{text}.JPG", text, text, text))
    place = {"deployment": {"locationName": HOSTILE[0] + HOSTILE[1], "latitude": HOSTILE[2], "longitude": 1}}
    cards = {"moth-detector": {"sha256": SHA, "citation": HOSTILE[1], "licence": HOSTILE[0], "kind": HOSTILE[3]}}
    folder = tmp_path_factory.mktemp("hostile")
    return compiled(folder, jobs, manifest=place, cards=cards, not_received=HOSTILE, job=JOB)


def compiled(folder: Path, jobs: list[Member], **more: Any) -> Path:
    Job(folder, jobs, **more).compiled()
    return folder / "files" / "report.html"


@contextmanager
def opened(browser: Browser, report: Path, **options: Any) -> Iterator[Page]:
    """The report in a fresh page; fails at its end where anything was asked of a network, said or opened."""
    context = browser.new_context(**options)
    page, told = context.new_page(), list[str]()
    context.on("request", lambda request: told.append(request.url[:100]))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.goto(report.as_uri())
    yield page
    assert [line for line in told if line != report.as_uri() and not line.startswith("data:image/webp;")] == []
    context.close()


def pixels(page: Page, **options: Any) -> Any:
    return np.asarray(Pillow.open(io.BytesIO(page.screenshot(**options))).convert("RGB")).astype(int)


def seen_through(page: Page) -> None:
    """Scroll to the end, so that everything was drawn once."""
    height, step = page.evaluate("document.documentElement.scrollHeight"), 600
    for top in range(0, min(height, 60 * step), step):
        page.evaluate(f"scrollTo(0, {top})")
    page.wait_for_timeout(100)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_500_images_are_less_than_20_mb_and_open_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    jobs = list(members(500))
    report = compiled(tmp_path, jobs)
    assert report.stat().st_size < LARGEST
    taken = []
    for _ in range(3):
        begun = time.monotonic()
        with opened(browser, report, viewport={"width": 1280, "height": 900}) as page:
            page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            taken.append(time.monotonic() - begun)
            assert page.locator(".shots > li").count() == sum(one.record is not None for one in jobs)
    assert min(taken) < OPENS, taken
    with opened(browser, report, viewport={"width": 1280, "height": 900}) as page:
        seen_through(page)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["desktop", "phone", "dark"])
@pytest.mark.parametrize("report", ["night", "hostile"])
def test_axe_finds_nothing(browser: Browser, report: str, options: Any, request: pytest.FixtureRequest) -> None:
    with opened(browser, request.getfixturevalue(report), **options) as page:
        result = Axe().run(page)
        found = result.response["violations"]
        assert [(one["impact"], one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
        assert len(result.response["passes"]) > 15  # it did look


@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, night: Path, hostile: Path) -> None:
    for report in (night, hostile):
        with opened(browser, report, **PHONE) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            assert page.evaluate("[...document.body.children].every(part => part.getBoundingClientRect().right <= 360)")


@pytest.mark.slow
def test_no_table_is_cut_on_a_phone_and_no_caption_on_paper(browser: Browser, night: Path) -> None:
    wide = "[...document.querySelectorAll('.scroll')].filter(part => part.scrollWidth > part.clientWidth)"
    with opened(browser, night, **PHONE) as page:
        assert page.evaluate(f"{wide}.map(part => part.getAttribute('aria-label'))") == []
    cut = "[...document.querySelectorAll('.crops li, .shots li')].filter(one => one.scrollWidth > one.clientWidth)"
    with opened(browser, night, viewport={"width": 688, "height": 1000}) as page:
        page.emulate_media(media="print")
        assert page.evaluate(f"{cut}.length") == page.evaluate(f"{wide}.length") == 0
        assert page.evaluate("document.documentElement.scrollWidth") == 688


@pytest.mark.slow
def test_nothing_hostile_runs_loads_or_hides_and_it_is_shown_as_text(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as page:
        seen_through(page)
        assert page.evaluate("window.pwned") is None
        assert page.locator("script").count() == page.locator("style").count() == 1
        assert page.locator("[onerror], [onload], [onmouseover], a[href^=javascript]").count() == 0
        assert page.locator("img:not([src^='data:image/webp;'])").count() == 0
        said = page.locator("body").inner_text()
        for shown in ("<script>window.pwned = 1</script>", "{{ 7 * 7 }}", "\\u202egpj.exe\\u2066", "\\x1b[31m\\ud800"):
            assert shown in said
        assert not set(said) & set("\u202e\u2066\x1b\x00") and "l" * 500 not in said


@pytest.mark.slow
def test_what_got_in_all_the_same_would_still_not_run(browser: Browser, night: Path, tmp_path: Path) -> None:
    broken = tmp_path / "report.html"
    attack = "<script>window.pwned = 1</script><img src=https://evil.example/x.png onerror='window.pwned = 1'>"
    broken.write_text(night.read_text().replace("<main>", f"<main>{attack}"))
    asked: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    context.on("requestfinished", lambda request: asked.append(request.url))
    page.goto(broken.as_uri())
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert not [url for url in asked if "evil" in url]
    context.close()


@pytest.mark.slow
def test_the_page_is_drawn_boxes_can_be_hidden_and_images_chosen(browser: Browser, night: Path) -> None:
    with opened(browser, night, viewport={"width": 1280, "height": 900}) as page:
        for section in ("body", "#charts", "#gallery", "#images", "#failures"):
            page.locator(section).scroll_into_view_if_needed()
            page.wait_for_timeout(100)
            drawn = pixels(page)
            assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20 and drawn.std() > 5, section
        frame = page.locator(".shots > li:nth-child(9) .frame")
        frame.scroll_into_view_if_needed()
        before = Pillow.open(io.BytesIO(frame.screenshot())).convert("RGB")
        page.uncheck("#boxes")
        after = Pillow.open(io.BytesIO(frame.screenshot())).convert("RGB")
        assert np.abs(np.asarray(before).astype(int) - np.asarray(after)).mean() > 2
        page.select_option("#filter select", "none")
        assert page.locator(".shots > li:visible").count() == 3
        assert page.locator("#count").inner_text() == "3 of 26"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 900}}, PHONE], ids=["desktop", "phone"])
def test_an_image_and_a_crop_are_larger_when_they_are_pressed(browser: Browser, night: Path, options: Any) -> None:
    with opened(browser, night, java_script_enabled=False, **options) as page:
        for part in (".shots .frame >> nth=8", ".crops li >> nth=1"):
            one = page.locator(part)
            one.scroll_into_view_if_needed()
            before = one.bounding_box()
            one.click()
            after = one.bounding_box()
            assert before and after and after["width"] > 1.8 * before["width"]


@pytest.mark.slow
def test_without_javascript_everything_is_there_and_boxes_can_be_hidden(browser: Browser, night: Path) -> None:
    with opened(browser, night, java_script_enabled=False) as page:
        assert page.locator(".shots > li:visible").count() == 26
        assert not page.locator("#filter").is_visible()
        assert page.locator(".frame svg").nth(3).is_visible()
        page.uncheck("#boxes")
        assert not page.locator(".frame svg").nth(3).is_visible()


@pytest.mark.slow
def test_it_prints(browser: Browser, night: Path) -> None:
    with opened(browser, night) as page:
        assert page.pdf(format="A4").count(b"/Type /Page\n") > 3
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible() and not page.locator(".tools").is_visible()


@pytest.mark.slow
def test_names_that_are_folded_on_the_screen_are_printed(browser: Browser, tmp_path: Path) -> None:
    report = compiled(tmp_path, [failed(f"{JOB}/{n:02}.jpg", "image_truncated") for n in range(12)])
    with opened(browser, report) as page:
        assert not page.locator(".trouble li").last.is_visible()
        page.emulate_media(media="print")
        assert page.locator(".trouble li").last.is_visible()


@pytest.mark.slow
def test_a_box_lies_on_what_it_is_about_also_where_the_camera_was_turned(browser: Browser, night: Path) -> None:
    turned = "IMG_0004.JPG"
    assert next(NIGHT.rglob(turned)).exists() and answers()[turned]["image"]["height"] > 600
    with opened(browser, night, viewport={"width": 1280, "height": 900}) as page:
        shot = page.locator(".shots > li", has_text=turned)
        shot.scroll_into_view_if_needed()
        place = "part => JSON.stringify(shot.querySelector(part).getBoundingClientRect())"
        image, boxes = shot.evaluate(f"shot => ['.frame img', '.frame svg'].map({place})")  # at once: the page moves
        assert image == boxes
        width, height = map(float, (shot.locator("svg").first.get_attribute("viewBox") or "").split()[2:])
        known = answers()[turned]["image"]
        assert width / height == pytest.approx(known["width"] / known["height"], rel=0.01)
