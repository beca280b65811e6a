"""What clients do to a bucket, each in its own way, and what they read of it, against engines that really run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
import unicodedata
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from tests.integration.engine import Engine, count_of, engine, insects, night, project, until
from tests.integration.uploaders import aws, mc

SECRET = "whsec_" + "c2VjcmV0LW9mLWEtdGVzdC1vbmx5LWhlcmU="
STRANGE = [
    "with space.jpg",
    " leading and trailing .jpg",
    "a+b.jpg",
    "a%20b.jpg",
    "a%2Fb.jpg",
    "100%.jpg",
    "a#b.jpg",
    "a?b&c=d.jpg",
    'it\'s "quoted".jpg',
    "<b>&amp;.jpg",
    "[ab]{c}*.jpg",
    "~a~.jpg",
    "back\\slash.jpg",
    "a:b;c,d=e@f!$^`|.jpg",
    "夜の蛾.jpg",
    "Ночь.JPG",
    "ليل.jpeg",
    unicodedata.normalize("NFC", "å.jpg"),
    "nfd-" + unicodedata.normalize("NFD", "å.jpg"),
    "🦋.jpg",
    "UPPER.JPG",
    "_DSC0001.JPG",
    "_DONE.jpg",
    "=cmd.jpg",
    "DCIM/100MEDIA/IMG_0001.JPG",
    "DCIM/101MEDIA/IMG_0001.JPG",
    "a/deep/er/folder of/six/levels/x.jpg",
]


@pytest.fixture(name="card")
def _card(tmp_path: Path) -> Path:
    """A memory card with a few images in two folders, one name in both."""
    folder = tmp_path / "card"
    for name, number in (("DCIM/100/IMG_1.JPG", 2), ("DCIM/101/IMG_1.JPG", 3), ("DCIM/101/a b+c.JPG", 4)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(night(number))
    return folder


CARD = {"DCIM/100/IMG_1.JPG": insects(2), "DCIM/101/IMG_1.JPG": insects(3), "DCIM/101/a b+c.JPG": insects(4)}


def counts(engine: Engine, job: str) -> dict[str, int | str]:
    """Detections of each image, or a failure's code."""
    return {name: count_of(line) for name, line in engine.lines(job).items()}


# -- names


def test_every_name_survives_from_upload_to_results(served: Engine) -> None:
    images = {name: night(2 + n % 3) for n, name in enumerate(STRANGE)}
    served.upload("names/s3", images)
    summary = served.closed("names/s3")
    assert summary["state"] == "SUCCEEDED", summary["failures"]
    assert counts(served, "names/s3") == {name: insects(2 + n % 3) for n, name in enumerate(STRANGE)}
    listed = set(served.keys("classifications/names/s3/"))
    assert listed == {f"classifications/names/s3/{name}.json" for name in STRANGE}
    assert {json.loads(served.get(key) or b"")["source"]["key"] for key in listed} == {
        f"incoming/names/s3/{name}" for name in STRANGE
    }


def test_every_name_survives_a_copy_into_the_folder(served: Engine) -> None:
    folder = served.incoming / "names" / "folder"
    for name in STRANGE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(night(2))
    (folder / "_DONE").touch()
    assert served.closed("names/folder")["state"] == "SUCCEEDED"
    assert counts(served, "names/folder") == dict.fromkeys(STRANGE, insects(2))


def test_a_job_may_have_any_name_too(served: Engine) -> None:
    job = "stå tion+1%/2026 #[夜]'🦋"
    served.upload(job, {"a.jpg": night(2)})
    assert served.closed(job)["job"] == job
    assert counts(served, job) == {"a.jpg": insects(2)}
    assert "SUCCEEDED" in served.trapline("status", job)


def test_images_without_a_job_of_their_own_are_read(served: Engine) -> None:
    served.put("incoming/bare.jpg", night(2))
    served.put("incoming/st9/half.jpg", night(3))
    assert served.closed("unsorted/unsorted")["images"]["done"] == 1
    assert served.closed("st9/unsorted")["images"]["done"] == 1
    assert json.loads(served.get("classifications/bare.jpg.json") or b"")["source"]["key"] == "incoming/bare.jpg"


# -- programs


def test_boto3_uploads_in_many_parts(served: Engine, tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(night(5) + bytes(21 * 2**20))  # what follows an image's end is not looked at
    config = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20, max_concurrency=4)
    served.s3.upload_file(str(path), served.bucket, "incoming/boto/parts/large.jpg", Config=config)
    served.put("incoming/boto/parts/_DONE")
    served.closed("boto/parts")
    line = served.lines("boto/parts")["large.jpg"]
    assert count_of(line) == insects(5) and line["source"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_aws_command_line_uploads_and_downloads(served: Engine, card: Path, tmp_path: Path) -> None:
    run = aws(served, tmp_path)
    at = f"s3://{served.bucket}/incoming/aws"
    run("s3", "cp", "--recursive", str(card), f"{at}/copied/")
    run("s3", "sync", str(card), f"{at}/synced/")
    run("s3", "cp", str(card / "DCIM/100/IMG_1.JPG"), f"{at}/single/")
    (tmp_path / "_DONE").touch()
    for job, wanted in (("copied", CARD), ("synced", CARD), ("single", {"IMG_1.JPG": insects(2)})):
        run("s3", "cp", str(tmp_path / "_DONE"), f"{at}/{job}/_DONE")
        served.closed(f"aws/{job}")
        assert counts(served, f"aws/{job}") == wanted
    run("s3", "cp", "--recursive", f"s3://{served.bucket}/results/aws/copied/", str(tmp_path / "results"))
    assert (tmp_path / "results" / "summary.json").is_file()


def test_the_minio_client_copies_and_mirrors(served: Engine, card: Path, tmp_path: Path) -> None:
    run = mc(served, tmp_path)
    at = f"trap/{served.bucket}/incoming/mc"
    run("cp", "--recursive", f"{card}/", f"{at}/copied/")
    run("mirror", str(card), f"{at}/mirrored")
    run("cp", str(card / "DCIM/100/IMG_1.JPG"), f"{at}/single/IMG_1.JPG")
    (tmp_path / "_DONE").write_text("\n")  # of no bytes, this client would send no Content-Length, and be refused
    for job, wanted in (("copied", CARD), ("mirrored", CARD), ("single", {"IMG_1.JPG": insects(2)})):
        run("cp", str(tmp_path / "_DONE"), f"{at}/{job}/_DONE")
        served.closed(f"mc/{job}")
        assert counts(served, f"mc/{job}") == wanted
    assert run("cat", f"trap/{served.bucket}/status/mc/copied.txt").strip()
    run("mirror", str(card), f"{at}/mirrored")  # nothing new
    run("mirror", f"trap/{served.bucket}/results/mc/copied", str(tmp_path / "results"))
    assert (tmp_path / "results" / "summary.json").is_file()


@pytest.mark.parametrize("way", ["cp -r", "cp -rp", "mv", pytest.param("slowly", marks=pytest.mark.slow)])
def test_a_file_managers_copy_into_the_folder_works(served: Engine, card: Path, way: str) -> None:
    job = f"files/{way.replace(' ', '')}"
    target = served.incoming / job
    target.parent.mkdir(parents=True, exist_ok=True)
    if way == "slowly":
        _copy_slowly(card, target)
    else:
        subprocess.run([*way.split(), str(card), str(target)], check=True)
    (target / "_DONE").touch()
    assert served.closed(job)["state"] == "SUCCEEDED"
    assert counts(served, job) == CARD


def _copy_slowly(card: Path, target: Path) -> None:
    for name in CARD:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        data = (card / name).read_bytes()
        with (target / name).open("wb") as file:
            for part in range(3):
                file.write(data[part * len(data) // 3 : (part + 1) * len(data) // 3])
                file.flush()
                time.sleep(1.1 if part < 2 else 0)


@pytest.mark.slow
def test_a_slow_copy_is_never_read_half(served: Engine) -> None:
    path = served.incoming / "slow" / "half" / "a.jpg"
    path.parent.mkdir(parents=True)
    data = night(6)
    with path.open("wb") as file:
        for part in range(8):
            file.write(data[part * len(data) // 8 : (part + 1) * len(data) // 8])
            file.flush()
            time.sleep(1)
            assert not served.keys("failed/detect/slow/half/") and not served.keys("detections/slow/half/")
    assert served.closed("slow/half")["images"]["done"] == 1
    assert counts(served, "slow/half") == {"a.jpg": insects(6)}


# -- the same and other files


def test_the_same_file_twice_runs_once(served: Engine) -> None:
    served.upload("same/twice", {"a.jpg": night(3)})
    first = served.closed("same/twice")
    record = served.root / "classifications/same/twice/a.jpg.json"
    written = record.stat().st_mtime_ns
    served.upload("same/twice", {"a.jpg": night(3)}, done=None)
    time.sleep(5)  # beyond settle
    assert served.summary("same/twice")["last_final"] == first["last_final"]
    assert record.stat().st_mtime_ns == written and len(served.receipts("same/twice")) == 1
    until(lambda: served.status("same/twice")["state"] == "SUCCEEDED")


def test_an_older_file_copied_over_a_newer_one_is_run_again(served: Engine, tmp_path: Path) -> None:
    old, new = tmp_path / "old.jpg", tmp_path / "new.jpg"
    old.write_bytes(night(3))
    new.write_bytes(night(4))
    os.utime(old, (1e9, 1e9))
    target = served.incoming / "older" / "one"
    target.mkdir(parents=True)
    shutil.copy(new, target / "a.jpg")
    (target / "_DONE").touch()
    served.closed("older/one")
    assert counts(served, "older/one") == {"a.jpg": insects(4)}
    subprocess.run(["cp", "-p", str(old), str(target / "a.jpg")], check=True)
    assert served.closed("older/one", 2)["state"] == "SUCCEEDED"
    assert counts(served, "older/one") == {"a.jpg": insects(3)}


@pytest.mark.slow
def test_an_older_file_of_the_same_size_moved_over_another_is_run_again(served: Engine, tmp_path: Path) -> None:
    size = max(len(night(3)), len(night(4)))
    for name, number in (("old.jpg", 3), ("new.jpg", 4)):
        (tmp_path / name).write_bytes(night(number).ljust(size, b"\0"))
        os.utime(tmp_path / name, (1e9, 1e9))
    target = served.incoming / "older" / "two"
    target.mkdir(parents=True)
    subprocess.run(["cp", "-p", str(tmp_path / "new.jpg"), str(target / "a.jpg")], check=True)
    (target / "_DONE").touch()
    served.closed("older/two")
    assert counts(served, "older/two") == {"a.jpg": insects(4)}
    subprocess.run(["cp", "-p", str(tmp_path / "old.jpg"), str(target / "a.jpg")], check=True)
    served.closed("older/two", 2)
    assert counts(served, "older/two") == {"a.jpg": insects(3)}


def test_a_file_from_the_future_is_read_at_once(served: Engine, tmp_path: Path) -> None:
    future = tmp_path / "a.jpg"
    future.write_bytes(night(3))
    os.utime(future, (2e9, 2e9))
    target = served.incoming / "future" / "2033"
    target.mkdir(parents=True)
    subprocess.run(["cp", "-p", str(future), str(target / "a.jpg")], check=True)
    (target / "_DONE").touch()
    served.closed("future/2033", seconds=10)
    assert counts(served, "future/2033") == {"a.jpg": insects(3)}


def test_a_late_file_makes_a_second_revision_and_the_first_stays(served: Engine) -> None:
    served.upload("late/file", {"a.jpg": night(3)})
    first = served.closed("late/file")
    served.upload("late/file", {"b.jpg": night(4)}, done=None)
    until(lambda: not served.status("late/file")["closed"], 10)
    second = served.closed("late/file", 2)
    assert second["images"]["done"] == 2 and counts(served, "late/file") == {"a.jpg": insects(3), "b.jpg": insects(4)}
    for file in first["files"]:
        data = served.get(file["key"])
        assert data is not None and hashlib.sha256(data).hexdigest() == file["sha256"]
    until(lambda: [name[:3] for name in served.revisions("late/file")] == ["r1-", "r2-"], 5)


# -- closing


def test_a_count_that_is_not_reached_waits_for_settle_and_is_told(served: Engine) -> None:
    began = time.monotonic()
    served.upload("count/short", {"a.jpg": night(2), "b.jpg": b""}, done=b"4\n")
    summary = served.closed("count/short")
    assert time.monotonic() - began > 3
    assert summary["state"] == "PARTIAL" and summary["not_received_count"] == 2
    assert summary["failures_by_code"]["empty_file"] == 1
    text = served.trapline("status", "count/short")
    assert "PARTIAL" in text and "2" in text


def test_a_count_that_is_reached_closes_at_once(served: Engine) -> None:
    served.put("incoming/count/whole/_DONE", b"3")
    served.upload("count/whole", {"a.jpg": night(2), "b.jpg": night(2), "c.jpg": night(2)}, done=None)
    assert served.closed("count/whole", seconds=8)["state"] == "SUCCEEDED"


def test_sha256sum_output_as_done_waits_for_what_it_names(served: Engine, card: Path) -> None:
    sums = subprocess.run(["sha256sum", *CARD], cwd=card, capture_output=True, check=True).stdout
    images = {name: (card / name).read_bytes() for name in CARD}
    late = images.popitem()
    served.upload("sums/whole", images, done=sums)
    time.sleep(1.5)
    assert not served.status("sums/whole")["closed"]
    served.put(f"incoming/sums/whole/{late[0]}", late[1])
    summary = served.closed("sums/whole")
    assert summary["state"] == "SUCCEEDED" and summary["images"]["done"] == 3


def test_sha256sum_output_names_what_never_came_or_came_otherwise(served: Engine, card: Path) -> None:
    sums = subprocess.run(["sha256sum", *CARD], cwd=card, capture_output=True, check=True).stdout
    images = {"DCIM/100/IMG_1.JPG": night(2), "DCIM/101/IMG_1.JPG": night(7)}  # the second one is another image
    served.upload("sums/short", images, done=sums)
    summary = served.closed("sums/short")
    assert summary["state"] == "PARTIAL"
    assert set(summary["not_received"]) == {"sums/short/DCIM/101/IMG_1.JPG", "sums/short/DCIM/101/a b+c.JPG"}


def test_cancel_stops_a_job_and_its_removal_over_s3_resumes_it(served: Engine) -> None:
    served.put("incoming/cancel/it/_CANCEL")
    served.upload("cancel/it", {f"{n}.jpg": night(3) for n in range(12)})
    until(lambda: served.status("cancel/it").get("state") == "CANCELLED", 10, lambda: served.status("cancel/it"))
    time.sleep(2)
    assert served.status("cancel/it")["state"] == "CANCELLED" and not served.receipts("cancel/it")
    served.delete("incoming/cancel/it/_CANCEL")
    assert served.closed("cancel/it")["images"]["done"] == 12


@pytest.mark.slow
def test_a_job_cancelled_while_it_runs_goes_on_when_the_file_is_removed(served: Engine) -> None:
    served.upload("cancel/later", {f"{n}.jpg": night(5 + n % 3) for n in range(30)}, done=None)
    until(lambda: served.keys("classifications/cancel/later/"), 10)
    served.put("incoming/cancel/later/_CANCEL")
    until(lambda: served.status("cancel/later").get("state") == "CANCELLED", 10)
    served.put("incoming/cancel/later/_DONE")
    served.delete("incoming/cancel/later/_CANCEL")
    assert served.closed("cancel/later")["images"]["done"] == 30


@pytest.mark.slow
def test_cancelling_ends_a_compile_that_runs(tmp_path: Path) -> None:
    traps, hangs = project(tmp_path / "traps", {"depth": 2, "settle": "PT1H", "refresh": "PT0.5S"}), tmp_path / "hangs"
    handler = traps / "functions/compile/handler.py"
    handle = "    def handle(self, items: list[Item]) -> list[dict[str, Any]]:\n"
    hanging = f"""\
        import os, time
        while Path({str(hangs)!r}).exists():
            Path({str(hangs)!r}).write_text(str(os.getpid()))
            time.sleep(0.1)
"""
    handler.write_text(handler.read_text().replace(handle, handle + hanging))
    hangs.touch()
    with engine(traps, tmp_path / "data") as served:
        served.upload("cancel/it", {f"{n}.jpg": night(3) for n in range(2)})
        pid = until(lambda: int(hangs.read_text() or 0), 30, served.said)
        served.put("incoming/cancel/it/_CANCEL")
        until(lambda: not Path(f"/proc/{pid}").exists(), 10, served.said)
        until(lambda: served.status("cancel/it").get("state") == "CANCELLED", 10, lambda: served.status("cancel/it"))
        hangs.unlink()
        served.delete("incoming/cancel/it/_CANCEL")
        summary = served.closed("cancel/it")
        assert summary["images"]["done"] == 2 and not served.keys("failed/")


def test_files_that_are_no_images_are_named_and_cost_nothing(served: Engine) -> None:
    others = dict.fromkeys(("clip.mp4", "raw.CR2", "Thumbs.db", ".hidden.jpg", "notes.txt"), b"x")
    served.upload("other/files", {"a.jpg": night(2)} | others)
    summary = served.closed("other/files")
    assert summary["state"] == "SUCCEEDED" and summary["images"]["total"] == 1
    assert {one["rel"].removeprefix("other/files/") for one in summary["ignored"]} == set(others)


# -- dead letters


def test_deleting_a_dead_letter_over_s3_is_a_retry(served: Engine) -> None:
    served.upload("dead/letter", {"a.jpg": night(3), "bad.jpg": b"no image", "none.jpg": b""})
    assert served.closed("dead/letter")["failures_by_code"] == {"image_unreadable": 1, "empty_file": 1}
    letter = "failed/detect/dead/letter/bad.jpg.json"
    before = served.json(letter)
    served.delete(letter)
    again = until(lambda: served.json(letter), 15, lambda: served.status("dead/letter"))
    assert again["code"] == "image_unreadable" and again["at"] > before["at"]
    time.sleep(2)
    assert len(served.receipts("dead/letter")) == 1  # what is known has not changed


def test_a_dead_letter_whose_image_was_mended_goes_away(served: Engine) -> None:
    served.upload("dead/mended", {"a.jpg": night(3), "bad.jpg": night(4)[:20_000]})
    assert served.closed("dead/mended")["failures_by_code"] == {"image_truncated": 1}
    served.upload("dead/mended", {"bad.jpg": night(4)})
    assert served.closed("dead/mended", 2)["state"] == "SUCCEEDED"
    assert not served.keys("failed/detect/dead/mended/") and counts(served, "dead/mended")["bad.jpg"] == insects(4)


# -- another place


@pytest.mark.slow
def test_a_data_folder_copied_elsewhere_runs_nothing_and_tells_nothing_again(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    with engine(made, tmp_path / "data") as first:
        first.upload(
            "st7/n1", {f"{n}.jpg": night(n) for n in (1, 2, 3, 26, 27, 28)} | {"empty.jpg": b"", "x.mp4": b"x"}
        )
        first.upload("st7/n2", {"a.jpg": night(4)}, done=None)
        first.closed("st7/n1")
        first.closed("st7/n2")
        time.sleep(1)
        assert first.stop() == 0
        log = len(first.said())
    subprocess.run(["cp", "-r", str(tmp_path / "data"), str(tmp_path / "copy")], check=True)
    for data in ("copy", "data"):
        before = _contents(tmp_path / data)
        with engine(made, tmp_path / data) as second:
            time.sleep(9)
            assert _contents(tmp_path / data) == before
            assert second.status("st7/n1")["state"] == "PARTIAL" and second.status("st7/n2")["state"] == "SUCCEEDED"
            assert second.said()[log if data == "data" else 0 :] == ""


def _contents(data: Path) -> dict[str, tuple[int, str]]:
    """When every object was written and what is in it. Statuses may be written anew, and so may what repeats a
    revision under stable names, with the same bytes."""
    bucket = data / "buckets" / "traps"
    found = {}
    for path in (path for path in bucket.rglob("*") if path.is_file()):
        parts = path.relative_to(bucket).parts
        if parts[0] not in ("control", "status"):
            repeated = parts[0] == "results" and len(parts) == 4
            written = 0 if repeated else path.stat().st_mtime_ns
            found["/".join(parts)] = (written, hashlib.sha256(path.read_bytes()).hexdigest())
    return found
