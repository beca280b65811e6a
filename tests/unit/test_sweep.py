"""What listings say stands in a bucket, whatever order they come in."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline import sweep
from trapline.keys import Layout
from trapline.ledger.arrivals import Chart
from trapline.store.base import Entry, KeyLimits

LAYOUT = Layout(records={"detect": "detections/", "classify": "classifications/"})
JOB = "st7/n1"
LIMITS = KeyLimits()
SHA = "ab" * 32
# Names that sort on the other side of each other with and without what records add to them.
TRICKY = ("a.jpg", "a.jpg (1).jpg", "a.jpg/b.jpg", "a.jpg.json.jpg", "a.jpg!.jpg", "a.jpg~.jpg", "A.JPG", "ä.jpg", "a")
names = st.sampled_from(TRICKY) | st.from_regex(r"[a-c./ ~!]{1,6}\.jpg", fullmatch=True)
rels = names.map(lambda name: f"{JOB}/{name}").filter(
    lambda rel: not any(part in ("", ".", "..") or part.startswith(".") for part in rel.split("/"))
)


def entry(key: str, etag: str = "e", *, size: int = 5, settled: bool = True, usable: bool = True) -> Entry:
    return Entry(key, etag, size, 0.0, settled, usable)


def charted(entries: Iterable[Entry]) -> tuple[Chart, sweep.JobListing]:
    chart, listing = Chart(0.0, 0), sweep.JobListing()
    sweep.incoming(chart, listing, entries, LAYOUT, LIMITS)
    return chart, listing


def shuffled(entries: list[Entry], seed: int) -> list[Entry]:
    random.Random(seed).shuffle(entries)
    return entries


@given(st.sets(rels), st.sets(rels), st.sets(rels), st.integers())
def test_what_has_no_record_is_found_in_whatever_order_the_listings_come(
    images: set[str], recorded: set[str], dead: set[str], seed: int
) -> None:
    chart, listing = charted(shuffled([entry(LAYOUT.image(rel)) for rel in images], seed))
    records = shuffled([entry(LAYOUT.record("detect", rel)) for rel in recorded], seed + 1)
    letters = shuffled([entry(LAYOUT.dead_letter("detect", rel)) for rel in dead], seed + 2)
    sweep.records(chart, "detect", records, LAYOUT.prefix("detect"))
    sweep.dead_letters(chart, listing, "detect", letters, LAYOUT.prefix("failed") + "detect/")
    owed = chart.images.keys() - chart.records["detect"] - chart.dead["detect"]
    assert owed == {rel for rel in images if rel.endswith((".jpg", ".JPG"))} - recorded - dead


@given(st.dictionaries(rels, st.text(max_size=3), max_size=8), st.integers())
def test_a_digest_is_of_a_set_and_minds_no_order(listing: dict[str, str], seed: int) -> None:
    entries = [entry(LAYOUT.image(rel), etag) for rel, etag in listing.items()]
    assert charted(entries)[1].text == charted(shuffled([*entries], seed))[1].text


@given(st.dictionaries(rels, st.sampled_from("abc"), min_size=1, max_size=6), st.data())
def test_a_digest_changes_with_every_name_and_every_etag(listing: dict[str, str], data: st.DataObject) -> None:
    before = charted(entry(LAYOUT.image(rel), etag) for rel, etag in listing.items())[1].text
    chosen = data.draw(st.sampled_from(sorted(listing)))
    fewer = {rel: etag for rel, etag in listing.items() if rel != chosen}
    for other in (fewer, {**listing, chosen: "d"}, {**fewer, f"{JOB}/new one.jpg": listing[chosen]}):
        assert charted(entry(LAYOUT.image(rel), etag) for rel, etag in other.items())[1].text != before


def test_names_and_etags_do_not_run_into_each_other_in_a_digest() -> None:
    one, other = sweep.Digest(), sweep.Digest()
    one.add("", "ab", "c")
    other.add("", "a", "bc")
    assert one.text != other.text


@given(st.lists(st.tuples(rels, st.sampled_from("abc"), st.booleans()), unique_by=lambda row: row[0]), st.integers())
def test_a_pass_over_the_whole_bucket_and_a_look_at_one_job_agree(rows: list[tuple[str, str, bool]], seed: int) -> None:
    entries = [entry(LAYOUT.image(rel), etag, settled=settled) for rel, etag, settled in rows]
    letters = [entry(LAYOUT.dead_letter("detect", rel), etag) for rel, etag, _ in rows[::2]]
    elsewhere = [entry("incoming/st8/n1/a.jpg"), entry("failed/detect/st8/n1/a.jpg.json")]
    overview = sweep.Overview()
    overview.incoming(shuffled([*entries, elsewhere[0]], seed), LAYOUT)
    overview.failed(shuffled([*letters, elsewhere[1]], seed), LAYOUT)
    chart, listing = charted(entries)
    sweep.dead_letters(chart, listing, "detect", letters, LAYOUT.prefix("failed") + "detect/")
    assert overview.text(JOB) == listing.text
    assert overview.text("st8/n1") != overview.text("nobody/knows")


def test_everything_under_a_jobs_folder_is_sorted_by_what_it_is() -> None:
    chart, listing = charted(
        [
            entry(f"incoming/{JOB}/a.jpg", "e1", size=7),
            entry(f"incoming/{JOB}/_DONE", "e2"),
            entry(f"incoming/{JOB}/_CANCEL"),
            entry(f"incoming/{JOB}/clip.mov"),
            entry(f"incoming/{JOB}/DCIM/"),
            entry(f"incoming/{JOB}/late.jpg", settled=False),
            entry(f"incoming/{JOB}//b.jpg", usable=False),
            entry(f"incoming/{JOB}/{'x' * 1100}.jpg"),
        ]
    )
    assert chart.images == {f"{JOB}/a.jpg": ("e1", 7)}
    assert (chart.cancelled, chart.unsettled, list(chart.ignored)) == (True, 1, [f"{JOB}/clip.mov"])
    assert listing.done is not None
    assert listing.done.etag == "e2"
    assert next(why for _, why in sorted(chart.unusable.items())) == "the store's library cannot address this key"
    assert len(chart.unusable) == 2


def test_a_file_that_is_still_being_written_is_in_no_digest() -> None:
    whole, growing = entry(f"incoming/{JOB}/a.jpg"), entry(f"incoming/{JOB}/b.jpg", settled=False)
    assert charted([whole, growing])[1].text == charted([whole])[1].text


def test_records_of_another_kind_of_file_are_not_records() -> None:
    chart = Chart(0.0, 0)
    sweep.records(
        chart, "detect", [entry("detections/st7/n1/a.jpg.json"), entry("detections/st7/n1/b.jpg.png")], "detections/"
    )
    assert chart.records == {"detect": {f"{JOB}/a.jpg"}}


# -- _DONE


def done(text: str | bytes) -> tuple[int | None, dict[str, str], bool]:
    mark = sweep.read_done("e9", text if isinstance(text, bytes) else text.encode(), "st7/n1/")
    assert mark.etag == "e9"
    return mark.count, mark.names, bool(mark.problem)


NOTHING: tuple[int | None, dict[str, str], bool] = (None, {}, False)


@pytest.mark.parametrize("text", ["", "\n", "\r\n", "  \n\n", "\ufeff", "\ufeff\r\n"])
def test_an_empty_done_only_closes(text: str) -> None:
    assert done(text) == NOTHING


@pytest.mark.parametrize("text", ["300", "300\n", "300\r\n", " 300 ", "\ufeff300\r\n", "0300"])
def test_a_count_is_read_however_it_was_typed(text: str) -> None:
    assert done(text) == (300, {}, False)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{SHA}  a.jpg", "a.jpg"),
        (f"{SHA} *a.jpg", "a.jpg"),
        (f"{SHA.upper()}  a.jpg", "a.jpg"),
        (f"{SHA}  ./DCIM/a.jpg", "DCIM/a.jpg"),
        (f"{SHA}  with  two spaces.jpg", "with  two spaces.jpg"),
        (f"{SHA}   leading.jpg", " leading.jpg"),
        (f"{SHA}  trailing ", "trailing "),
        (f"{SHA}  Ночь + 5% #1.jpg", "Ночь + 5% #1.jpg"),
        (f"{SHA}  back\\slash.jpg", "back\\slash.jpg"),
        (f"\\{SHA}  back\\\\slash.jpg", "back\\slash.jpg"),
        (f"\\{SHA}  two\\nlines.jpg", "two\nlines.jpg"),
        (f"\\{SHA} *a\\rb.jpg", "a\rb.jpg"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_every_form_of_a_checksum_line_names_its_file(line: str, name: str, start: str, end: str) -> None:
    assert done(start + line + end) == (None, {f"st7/n1/{name}": SHA}, False)


def test_several_lines_name_several_files_and_never_done_itself() -> None:
    lines = [f"{SHA}  a.jpg", "", f"{'cd' * 32} *b.jpg", f"{SHA}  _DONE"]
    assert done("\r\n".join(lines)) == (None, {"st7/n1/a.jpg": SHA, "st7/n1/b.jpg": "cd" * 32}, False)


@pytest.mark.parametrize(
    "text",
    [
        "finished!",
        "300 images",
        "-3",
        "3.5",
        SHA,
        f"{SHA[:-1]}  a.jpg",
        f"{SHA}\ta.jpg",
        f"{SHA}  a.jpg\noops",
        "9" * 12,
        "½",
    ],
)
def test_garbage_is_told_and_only_closes(text: str) -> None:
    count, names, problem = done(text)
    assert (count, names, problem) == (None, {}, True)


def test_a_file_named_twice_counts_once_and_with_other_checksums_is_not_understood() -> None:
    one, other = (f"{digit * 64}  a.jpg\n" for digit in "12")
    assert done(one + one) == (None, {"st7/n1/a.jpg": "1" * 64}, False)
    assert "'a.jpg' twice" in sweep.read_done("e", (one + other).encode(), "st7/n1/").problem


def test_what_is_wrong_with_a_done_is_told_with_what_was_expected() -> None:
    mark = sweep.read_done("e", ("x" * 4000).encode(), "st7/n1/")
    assert "expected nothing, a count, or `sha256sum` output" in mark.problem
    assert len(mark.problem) < 200


@given(st.binary(max_size=200))
def test_any_bytes_make_a_mark(data: bytes) -> None:
    mark = sweep.read_done("e", data, "st7/n1/")
    assert sum((mark.count is not None, bool(mark.names), bool(mark.problem))) <= 1


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n\\\x00", exclude_categories=["Cs"]), min_size=1), unique=True
    )
)
def test_what_sha256sum_writes_is_read_back(files: list[str]) -> None:
    files = [file for file in files if not file.startswith("./") and file != "_DONE"]
    text = "".join(f"{hashlib.sha256(file.encode()).hexdigest()}  {file}\n" for file in files)
    _, found, problem = done(text)
    assert not problem
    assert found == {f"st7/n1/{file}": hashlib.sha256(file.encode()).hexdigest() for file in files}
