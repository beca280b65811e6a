"""Where everything lies in a bucket, and what a key that turns up is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.errors import KeyUnusable
from trapline.keys import CANCEL, DONE, IMAGE_SUFFIXES, UNSORTED, Layout, fetched_name, short_hash, suffix_of

STAGES = {"detect": "detections/", "classify": "classifications/"}
PLAIN = Layout(records=STAGES)

# What a station's disk may hold: every character but the slash and the ones that no file name has.
names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=12)
parts = names.filter(lambda name: name not in (".", ".."))
rels = st.lists(parts, min_size=1, max_size=6).map("/".join)
layouts = st.builds(
    Layout,
    root=st.sampled_from(("", "shared/", "a b/ü/")),
    depth=st.integers(1, 4),
    records=st.just(STAGES),
)


@given(layouts, rels, st.sampled_from(sorted(STAGES)))
def test_a_path_survives_the_way_to_its_record_and_back(layout: Layout, rel: str, stage: str) -> None:
    found = layout.meaning(layout.record(stage, rel))
    assert (found.kind, found.stage, found.rel, found.job) == ("record", stage, rel, layout.job_of(rel))
    assert layout.rel_of_image(layout.image(rel)) == rel


@given(layouts, rels, st.sampled_from(("detect", "classify", "fetch")))
def test_a_path_survives_the_way_to_its_dead_letter_and_back(layout: Layout, rel: str, stage: str) -> None:
    found = layout.meaning(layout.dead_letter(stage, rel))
    assert (found.kind, found.stage, found.rel, found.job) == ("dead_letter", stage, rel, layout.job_of(rel))


@pytest.mark.parametrize(
    ("stage", "rel"), [("compile", "st7/n1"), ("notify", "st7/n1/3-0a1b2c3d")], ids=["of a compile", "of a notify"]
)
def test_a_dead_letter_of_a_whole_job_belongs_to_that_job(stage: str, rel: str) -> None:
    found = PLAIN.meaning(PLAIN.dead_letter(stage, rel))
    assert (found.kind, found.stage, found.rel, found.job) == ("dead_letter", stage, rel, "st7/n1")


@given(st.lists(rels, min_size=2, max_size=6, unique=True), st.sampled_from(sorted(STAGES)))
def test_two_images_never_share_a_record(several: list[str], stage: str) -> None:
    assert len({PLAIN.record(stage, rel) for rel in several}) == len(several)


@given(layouts, rels.map(lambda rel: rel + ".JPG"))
def test_an_image_lies_in_exactly_one_place_of_its_job(layout: Layout, rel: str) -> None:
    job = layout.job_of(rel)
    layout_places = layout.job_places(job)
    folder = rel.rpartition("/")[0] + "/" if "/" in rel else ""
    holds = [
        place for place, whole in layout_places if folder == place or (whole and place != "" and rel.startswith(place))
    ]
    assert len(holds) == 1
    assert len(job.split("/")) == layout.depth


@given(layouts, rels, st.sampled_from((DONE, CANCEL)))
def test_a_marker_counts_for_a_job_exactly_where_markers_says(layout: Layout, rel: str, name: str) -> None:
    job = layout.job_of(rel)
    for key in layout.markers(job, name):
        found = layout.meaning(key)
        assert (found.kind, found.job) == ("done" if name == DONE else "cancel", job)
    assert layout.marker(job, name) in layout.markers(job, name)


@given(layouts, rels)
def test_a_marker_anywhere_else_is_ignored(layout: Layout, rel: str) -> None:
    key = layout.image(f"{rel}/{DONE}")
    found = layout.meaning(key)
    assert (found.kind == "done") == (key in layout.markers(found.job, DONE))


@given(layouts, st.text(max_size=60))
def test_any_key_has_a_meaning(layout: Layout, key: str) -> None:
    found = layout.meaning(key)
    assert found.kind != "image" or key == layout.image(found.rel)


@given(st.text(max_size=60))
def test_what_the_engine_writes_never_starts_anything(rel: str) -> None:
    own = (PLAIN.result(rel, "x.json"), PLAIN.receipt(rel, "1-ab"), PLAIN.status_of(rel, ".json"), PLAIN.seen(rel))
    more = (
        PLAIN.control_job(rel),
        PLAIN.log(rel, "x.json"),
        PLAIN.quarantined(rel),
        PLAIN.model(rel, "1", "model.yaml"),
    )
    assert {PLAIN.meaning(key).kind for key in (*own, *more)} == {"own"}


@pytest.mark.parametrize(
    ("rel", "job"),
    [
        ("st7/2026-11-20/DCIM/a.jpg", "st7/2026-11-20"),
        ("st7/2026-11-20/a.jpg", "st7/2026-11-20"),
        ("st7/a.jpg", "st7/unsorted"),
        ("a.jpg", "unsorted/unsorted"),
        ("unsorted/unsorted/a.jpg", "unsorted/unsorted"),
    ],
)
def test_a_job_is_the_first_folders_and_missing_ones_read_unsorted(rel: str, job: str) -> None:
    assert PLAIN.job_of(rel) == job


@given(layouts, st.sets(rels, max_size=8))
def test_folder_by_folder_each_images_job_is_found_and_the_canarys_folder_is_none(
    layout: Layout, found: set[str]
) -> None:
    keys = [layout.image(rel) for rel in found] + [layout.canary("0a1b", "a.jpg")]
    assert _walked(layout, keys, layout.prefix("incoming")) == {layout.job_of(rel) for rel in found}


def _walked(layout: Layout, keys: list[str], prefix: str) -> set[str]:
    below = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    folders = {prefix + path.split("/")[0] + "/" for path in below if "/" in path}
    jobs, deeper = layout.jobs_at([prefix + path for path in below if "/" not in path], sorted(folders))
    return jobs.union(*(_walked(layout, keys, folder) for folder in deeper))


@pytest.mark.parametrize("job", ["st7", "st7/n1/x", "st7/", "/n1", "st7/..", "st7/.hidden", ""])
def test_a_job_of_another_shape_is_refused_naming_the_shape(job: str) -> None:
    with pytest.raises(KeyUnusable, match=r"A job is named <folder1>/<folder2>\."):
        PLAIN.check_job(job)


def test_a_job_of_the_right_shape_is_accepted() -> None:
    PLAIN.check_job("st7/2026-11-20")
    Layout(depth=3).check_job(f"st7/{UNSORTED}/{UNSORTED}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("IMG_0001.JPG", ""),
        ("_DSC0001.JPG", ""),
        ("a b+c%20#~['\"].jpeg", ""),
        ("Ночь.tiff", ""),
        (".hidden.jpg", "hidden"),
        ("._IMG_0001.JPG", "hidden"),
        (".Trashes/a.jpg", "hidden"),
        ("Thumbs.db", "operating system"),
        ("THUMBS.DB", "operating system"),
        ("folder/", "folder marker"),
        ("clip.MOV", ".mov"),
        ("raw.CR2", ".cr2"),
        ("README", "without a suffix"),
        ("DCIM/_DONE", "job's own folder"),
        ("_done", "without a suffix"),
    ],
)
def test_what_is_no_image_is_told_why(name: str, why: str) -> None:
    said = PLAIN.why_ignored(f"st7/n1/{name}")
    assert (why in said) if why else said == ""


@given(st.integers(2, 400), st.integers(0, 60), st.booleans())
def test_the_longest_key_that_is_accepted_fits_with_everything_derived_from_it(size: int, pad: int, wide: bool) -> None:
    layout = Layout(root="r" * pad + "/", records=STAGES)
    rel = "/".join([("ü" if wide else "x") * 40] * (size // 40 + 1))[:size]
    limit = 500
    derived = [layout.image(rel), *(layout.record(stage, rel) for stage in STAGES)]
    derived += [layout.dead_letter(stage, rel) for stage in STAGES]
    fits = max(len(key.encode()) for key in derived) <= limit
    try:
        layout.check(rel.strip("/"), STAGES, limit, None)
        accepted = True
    except KeyUnusable:
        accepted = False
    if not rel.endswith("/"):
        assert accepted == fits


@pytest.mark.parametrize(
    ("rel", "ok"),
    [
        ("st7/n1/" + "x" * 235, True),
        ("st7/n1/" + "x" * 236, False),
        ("st7/" + "x" * 227 + "/a.jpg", True),
        ("st7/" + "x" * 228 + "/a.jpg", False),
        ("st7/n1/" + "ü" * 117, True),
        ("st7/n1/" + "ü" * 118, False),
    ],
)
def test_a_folder_takes_names_of_240_bytes_with_what_records_add(rel: str, ok: bool) -> None:
    if ok:
        PLAIN.check(rel, STAGES, 4096, 240)
    else:
        with pytest.raises(KeyUnusable, match="this store takes 240"):
            PLAIN.check(rel, STAGES, 4096, 240)


@pytest.mark.parametrize("rel", ["a//b.jpg", "/a.jpg", "a/./b.jpg", "a/../b.jpg", "..", "a/b\x00.jpg", ""])
def test_a_key_that_no_store_can_address_is_refused(rel: str) -> None:
    with pytest.raises(KeyUnusable):
        PLAIN.check(rel, STAGES, 1024, None)


# What manifests in the field are stored under: these never change, or every image would be fetched again.
@pytest.mark.parametrize(
    ("ident", "url", "name"),
    [
        ("NScx", "https://example.org/a.jpg", "NScx-{}.jpg"),
        ("NScx", "https://example.org/a.JPEG?size=large#top", "NScx-{}.jpeg"),
        ("NScx", "https://example.org/image?id=5.jpg", "NScx-{}.image"),
        ("NScx", "https://example.org/a.php", "NScx-{}.image"),
        ("NScx", "https://example.org/", "NScx-{}.image"),
        ("NScx", "s3://bucket/some/key.PNG", "NScx-{}.png"),
        ("NScx", "incoming/other/job/a.tif", "NScx-{}.tif"),
        ("../../etc/passwd", "https://example.org/a.jpg", "etc-passwd-{}.jpg"),
        ("Ночь", "https://example.org/a.jpg", "image-{}.jpg"),
        ("a" * 500, "https://example.org/a.jpg", "a" * 60 + "-{}.jpg"),
    ],
)
def test_a_listed_image_is_stored_under_a_name_known_from_the_manifest(ident: str, url: str, name: str) -> None:
    assert fetched_name(ident, url) == name.format(short_hash(f"{ident}\n{url}", 8))


def test_the_names_of_listed_images_do_not_change_between_releases() -> None:
    assert fetched_name("NScx", "https://example.org/a.jpg") == "NScx-0eba2159.jpg"


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_a_listed_image_is_one_safe_file_that_some_stage_reads(ident: str, path: str) -> None:
    name = fetched_name(ident, f"https://example.org/{path}")
    assert "/" not in name
    assert name.isascii()
    assert suffix_of(name) in IMAGE_SUFFIXES
    assert PLAIN.why_ignored(f"st7/n1/{name}") == ""
