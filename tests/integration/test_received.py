"""`trapline received` before a card is wiped: real folders against a real engine, over the folder and over S3."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine import Engine, night, until
from tests.integration.uploaders import mc, minio_client
from trapline.records.received import ReceivedFile, read_table, table

GOOD = ("DCIM/100MEDIA/IMG_0001.JPG", "DCIM/100MEDIA/IMG_0002.JPG", "DCIM/101MEDIA/Motte + 5%.JPG")
CUT = "DCIM/101MEDIA/IMG_0004.JPG"
SAFE, NOT, EARLY = 0, 1, 3


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card: images, one of them cut off, and what cameras and systems leave beside them."""
    folder = tmp_path / "card"
    for number, name in enumerate(GOOD, 1):
        write(folder / name, night(number))
    write(folder / CUT, night(4)[:9000])
    for name in (".Trashes/501", "Thumbs.db", "DCIM/.hidden.JPG", "DCIM/._IMG_0001.JPG", "_DONE"):
        write(folder / name, b"x")
    return folder


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def images(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.suffix == ".JPG" and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def sent(served: Engine, job: str, files: dict[str, bytes]) -> None:
    """Upload, and wait until the engine's list has all of it."""
    served.upload(job, files, done=b"\n")
    until(lambda: (json.loads(served.get(f"status/{job}.json") or b"{}")).get("closed"))
    until(
        lambda: {file.file for file in listed(served, job) if file.sha256} >= set(files),
        told=lambda: listed(served, job),
    )
    until(lambda: served.get(f"status/{job}.sha256"))


def listed(served: Engine, job: str) -> list[ReceivedFile]:
    return read_table(served.get(f"status/{job}.received.csv") or table([]), job)


def said(served: Engine, job: str, card: Path, *words: str, rc: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        served.trapline("received", job, str(card), "--json", *words, rc=rc).splitlines()[0]
    )
    assert found["safe"] == (rc == SAFE)
    return found


def test_a_card_of_which_every_image_was_received_is_safe_to_wipe_though_one_of_them_failed(
    served: Engine, card: Path
) -> None:
    sent(served, "st7/whole", images(card))
    told = served.trapline("received", "st7/whole", str(card), rc=SAFE)
    assert "4 images on the card" in told and "Safe to wipe: every image" in told
    assert "1 received, but failed, image_truncated: The image ends before it should." in told
    assert "the very same bytes" in told and "3 left out: hidden file" in told


def test_what_is_missing_or_has_other_bytes_is_named(served: Engine, card: Path) -> None:
    there = images(card) | {GOOD[0]: night(9)}
    there.pop(GOOD[1])
    sent(served, "st7/lacking", there)
    found = said(served, "st7/lacking", card, rc=NOT)
    assert [entry["file"] for entry in found["missing"]] == [GOOD[1]]
    assert [entry["file"] for entry in found["damaged"]] == [GOOD[0]]
    assert "Not safe to wipe: copy these again" in served.trapline("received", "st7/lacking", str(card), rc=NOT)


def test_of_two_cards_in_folders_of_one_job_each_is_found_and_the_other_one_is_named(
    served: Engine, card: Path, tmp_path: Path
) -> None:
    write(tmp_path / "other" / GOOD[0], night(11))
    first, other = images(card), images(tmp_path / "other")
    sent(served, "st7/two", {f"A/{n}": d for n, d in first.items()} | {f"B/{n}": d for n, d in other.items()})
    found = said(served, "st7/two", card, rc=SAFE)
    assert (found["job_only"], found["named_otherwise"]) == ([f"B/{GOOD[0]}"], [])
    assert said(served, "st7/two", tmp_path / "other", rc=SAFE)["received"] == 1
    assert said(served, "st7/two", card / "DCIM", rc=SAFE)["received"] == 4


def test_names_may_be_composed_in_another_way_and_hold_what_spreadsheets_run(served: Engine, tmp_path: Path) -> None:
    card = tmp_path / "card"
    names = ("Käfer.JPG", "=1+1.JPG", "'quoted\".JPG", "a,b.JPG", "back\\slash.JPG")
    for number, name in enumerate(names, 1):
        write(card / unicodedata.normalize("NFD", name), night(number))
    sent(served, "st7/names", {unicodedata.normalize("NFC", name): data for name, data in images(card).items()})
    assert said(served, "st7/names", card, rc=SAFE)["named_otherwise"] == []
    write(card / "a,b\nc.JPG", night(6))
    assert [entry["file"] for entry in said(served, "st7/names", card, rc=NOT)["missing"]] == ["a,b\nc.JPG"]


def test_an_image_whose_name_the_engine_cannot_work_with_is_listed_and_to_be_renamed(
    served: Engine, tmp_path: Path
) -> None:
    card, job, odd = tmp_path / "card", "st7/unfit", "new\nline.JPG"
    write(card / "a.JPG", night(1))
    write(card / odd, night(2))
    shutil.copytree(card, served.incoming / job)
    served.put(f"incoming/{job}/_DONE", b"2")
    until(lambda: [file for file in listed(served, job) if file.code == "key_unusable"])
    until(lambda: served.status(job).get("closed"))
    (missing,) = said(served, job, card, rc=NOT)["missing"]
    assert missing["file"] == odd and "rename it" in missing["why"]
    assert b" 1/1 done 1 failed 1 missing " in (served.get(f"status/{job}.txt") or b"")


def test_videos_and_raw_are_to_be_kept_unless_their_bytes_are_in_the_bucket_too(served: Engine, card: Path) -> None:
    write(card / "DCIM/clip.MOV", b"video")
    write(card / "DCIM/raw.CR2", b"raw")
    sent(served, "st7/video", images(card))
    served.put("incoming/st7/video/DCIM/clip.MOV", b"video")
    served.put("incoming/st7/video/DCIM/raw.CR2", b"cut")
    found = said(served, "st7/video", card, rc=NOT)
    assert [entry["file"] for entry in found["keep"]] == ["DCIM/raw.CR2"]
    assert "keep it" in served.trapline("received", "st7/video", str(card), rc=NOT)
    assert said(served, "st7/video", card, "--images-only", rc=SAFE)["keep"]


def test_links_empty_files_and_an_empty_card_are_never_safe(served: Engine, card: Path, tmp_path: Path) -> None:
    sent(served, "st7/odd", images(card) | {"DCIM/empty.JPG": b"", "late.JPG": night(12)})
    (card / "link.JPG").symlink_to(card / GOOD[0])
    (card / "folder").symlink_to(tmp_path)
    found = said(served, "st7/odd", card, rc=NOT)
    assert [entry["file"] for entry in found["unchecked"]] == ["folder", "link.JPG"]
    (card / "link.JPG").unlink()
    (card / "folder").unlink()
    write(card / "DCIM/empty.JPG", b"")
    assert said(served, "st7/odd", card, rc=SAFE)["failed"][-1]["code"] in ("image_truncated", "empty_file")
    write(card / "DCIM/empty too.JPG", b"")
    assert [entry["file"] for entry in said(served, "st7/odd", card, rc=NOT)["missing"]] == ["DCIM/empty too.JPG"]
    (tmp_path / "none").mkdir()
    assert "there is no image on it" in served.trapline("received", "st7/odd", str(tmp_path / "none"), rc=NOT)


def test_a_list_that_is_cut_off_or_of_another_job_makes_nothing_safe(served: Engine, card: Path) -> None:
    sent(served, "st7/list", images(card))
    sent(served, "st7/other", {"x.JPG": night(13)})
    path = served.root / "status/st7/list.received.csv"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        served.trapline("received", "st7/list", str(card), rc=NOT)
    path.write_bytes((served.root / "status/st7/other.received.csv").read_bytes())
    served.trapline("received", "st7/list", str(card), rc=EARLY)
    (served.root / "status/st7/other.received.csv").write_bytes(whole)
    served.trapline("received", "st7/other", str(card), rc=NOT)


def test_what_changed_or_vanished_in_the_bucket_after_the_list_is_not_safe(
    quick_project: Path, tmp_path: Path, card: Path
) -> None:
    served = Engine(quick_project, tmp_path / "data")
    served.start()
    try:
        sent(served, "st7/after", images(card))
        served.put("incoming/st7/open/a.JPG", night(1))
    finally:
        served.stop()
    assert said(served, "st7/after", card, rc=SAFE)["listing"]
    image = served.incoming / "st7/after" / GOOD[0]
    image.write_bytes(bytes(len(image.read_bytes())))
    assert [entry["file"] for entry in said(served, "st7/after", card, rc=EARLY)["not_yet"]] == [GOOD[0]]
    image.unlink()
    assert [entry["file"] for entry in said(served, "st7/after", card, rc=NOT)["missing"]] == [GOOD[0]]
    image.write_bytes((card / GOOD[0]).read_bytes())  # the same bytes under another etag
    assert said(served, "st7/after", card, rc=SAFE)["received"] == 4
    assert "There is no job" in served.trapline("received", "st7/nowhere", str(card), rc=NOT)
    write(served.incoming / "st7/unseen/a.JPG", night(1))
    assert "No engine has looked at it yet" in served.trapline("received", "st7/unseen", str(card), rc=EARLY)


def test_over_s3_the_same_holds_by_the_etags_of_the_endpoint(served: Engine, card: Path) -> None:
    sent(served, "st7/s3", images(card))
    over_s3 = Engine(served.project, served.data, env=keys(served))
    assert said(over_s3, "st7/s3", card, "--endpoint", served.told["endpoint"], rc=SAFE)["listing"]
    (card / GOOD[0]).write_bytes(night(20))
    assert said(over_s3, "st7/s3", card, "--endpoint", served.told["endpoint"], rc=NOT)["damaged"]


def keys(served: Engine) -> dict[str, str]:
    secret = {"AWS_ACCESS_KEY_ID": served.told["access_key"], "AWS_SECRET_ACCESS_KEY": served.told["secret_key"]}
    return {**served.env, **secret, "AWS_REGION": "us-east-1"}


# -- with sha256sum and mc alone, as the documentation says


AS_FILES = "surrogateescape"
LATIN = b"Nachtfl\xfcgler.JPG".decode(errors=AS_FILES)  # a name whose bytes are no UTF-8
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "finish-a-night.md"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
def test_the_lines_of_the_how_to_print_what_is_not_in_the_bucket_and_what_the_card_lacks(
    served: Engine, card: Path, tmp_path: Path
) -> None:
    write(card / "DCIM/back\\slash.JPG", night(14))
    write(card / "-rf.JPG", night(17))
    (card / "DCIM/.hidden.JPG").unlink()
    there = images(card)
    sent(served, "st7/sums", there)
    assert _typed(served, tmp_path, card, "st7/sums") == (["6"], [])
    write(card / "DCIM/new.JPG", night(15))
    write(card / LATIN, night(18))
    write(card / GOOD[0], night(16))
    (card / GOOD[1]).unlink()
    *lacking, count = _typed(served, tmp_path, card, "st7/sums")[0]
    assert (sorted(line[66:] for line in lacking), count) == ([GOOD[0], "DCIM/new.JPG", LATIN], "7")
    failed = [line for line in _typed(served, tmp_path, card, "st7/sums")[1] if "FAILED" in line]
    assert {line.partition(":")[0] for line in failed} == {GOOD[0], GOOD[1]}
    served.upload("st7/none", {}, done=b"\n")
    assert _typed(served, tmp_path, card, "st7/none")[0][-1] == "7"
    assert len(_typed(served, tmp_path, card, "st7/none")[0]) == 8, "where nothing was received, all is printed"


def _typed(served: Engine, tmp_path: Path, card: Path, job: str) -> tuple[list[str], list[str]]:
    """What the lines of the page print: those about the card, and the one the other way round."""
    mc(served, tmp_path)
    block, other = re.findall(r"(?:^    .*mc cat [^\n]*\.sha256.*\n(?:    .*\n)*)", HOW_TO.read_text(), re.M)
    config = f"{minio_client()} --config-dir {tmp_path / 'mc'}"
    typed = [
        text.replace("st7/2026-11-20", job)
        .replace("/tmp/", f"{tmp_path}/mc/")
        .replace("cd /media/card", "true")
        .replace("mc cat", f"{config} cat")
        for text in (block, other)
    ]
    out = [
        subprocess.run(["bash", "-c", text], cwd=card, capture_output=True, check=False).stdout.decode(errors=AS_FILES)
        for text in typed
    ]
    return out[0].splitlines(), out[1].splitlines()
