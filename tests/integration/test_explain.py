"""`trapline explain` asked about images with as many different fates, as a station asks: what, why, what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.engine import Engine, engine, night, project, until
from trapline.errors import CODES

NIGHT = "st7/night"
SLOW = {"depth": 2, "settle": "PT1H", "refresh": "PT0.5S"}
CUT = night(4)[:9000]


@dataclass
class Asked:
    """An engine that served, and what it was given."""

    served: Engine
    card: Path

    def json(self, what: str, rc: int = 0) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.served.trapline("explain", what, "--json", rc=rc))
        return said

    def told(self, what: str, rc: int = 0) -> str:
        return " ".join(self.served.trapline("explain", what, rc=rc).split())


def empty_sheet(folder: Path) -> bytes:
    path = folder / "sheet.jpg"
    Image.new("RGB", (640, 480), (240, 240, 236)).save(path)
    return path.read_bytes()


def sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def manifest(*names: str) -> bytes:
    listed = [{"id": f"id-{name}", "url": f"incoming/ecos/m1/{name}.jpg"} for name in names]
    return json.dumps({"projectId": "ecos", "jobId": "m1", "sourceImages": listed}).encode()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("fates")
    card = folder / "card" / "DCIM"
    card.mkdir(parents=True)
    with engine(project(folder / "traps", SLOW), folder / "data") as served:
        _play(served, folder)
        served.stop()
        # what follows no engine sees
        (served.incoming / "st7/late").mkdir()
        (served.incoming / "st7/late/waiting.JPG").write_bytes(night(8))
        (served.incoming / "st7/open/deleted.JPG").unlink()
        (served.incoming / NIGHT / "DCIM/replaced since.JPG").write_bytes(night(9))
        (card / "moths.JPG").write_bytes(night(2))
        (card / "empty.JPG").write_bytes(night(3))
        yield Asked(served, card)


def _play(served: Engine, folder: Path) -> None:
    moths, sheet = night(2), empty_sheet(folder)
    files = {
        "DCIM/moths.JPG": moths,
        "DCIM/sheet.JPG": sheet,
        "DCIM/cut.JPG": CUT,
        "DCIM/empty.JPG": b"",
        "DCIM/clip.MOV": b"video",
        "DCIM/twice.JPG": night(5),
        "DCIM/replaced since.JPG": night(6),
    }
    (served.incoming / NIGHT).mkdir(parents=True)
    (served.incoming / NIGHT / "odd\x01name.JPG").write_bytes(night(1))
    served.upload(NIGHT, files)
    served.closed(NIGHT)
    served.put(f"incoming/{NIGHT}/DCIM/twice.JPG", night(7))
    served.put(f"incoming/{NIGHT}/_DONE", b"\n")
    served.closed(NIGHT, 2)
    served.put(f"labels/{NIGHT}.csv", f"file,label,reviewer\n{NIGHT}/DCIM/sheet.JPG,silver y,Ada\n".encode())
    served.closed(NIGHT, 3)
    # a card of which one image never came, in a job that stays open
    came = {"here.JPG": night(10), "deleted.JPG": night(14)}
    named = {**came, "lost.JPG": night(11)}
    served.upload("st7/open", {**came, "nothing yet.JPG": b""}, done=sums(named))
    # a job that is cancelled
    served.put("incoming/st7/stop/_CANCEL", b"x")
    until(lambda: served.status("st7/stop").get("state"))
    served.put("incoming/st7/stop/stopped.JPG", night(12))
    until(lambda: served.status("st7/stop").get("state") == "CANCELLED")
    # a manifest that lists one image, then the other alone; and one that cannot be fetched
    for name in ("kept", "dropped"):
        served.put(f"incoming/ecos/m1/{name}.jpg", night(13))
    served.put("jobs/ecos/m1.json", manifest("kept", "dropped"))
    served.closed("ecos/m1")
    served.put("jobs/ecos/m1.json", manifest("kept"))
    served.closed("ecos/m1", 2)
    url = "http://127.0.0.1:1/x.jpg"
    listed = {"projectId": "ecos", "jobId": "m2", "sourceImages": [{"id": "far away", "url": url}]}
    served.put("jobs/ecos/m2.json", json.dumps(listed).encode())
    served.closed("ecos/m2")
    # a manifest that cannot be used
    served.put("jobs/ecos/m3.json", b'{"sourceImages": 7}')
    until(lambda: served.status("ecos/m3").get("state") == "FAILED")
    served.put("incoming/ecos/m3/in vain.jpg", night(13))
    # an image that is deleted while its job is open
    served.put("incoming/st7/open/left again.JPG", night(15))
    until(lambda: served.get("classifications/st7/open/left again.JPG.json"))
    served.delete("incoming/st7/open/left again.JPG")
    until(lambda: served.status("st7/open").get("not_received"))
    until(lambda: served.get("classifications/st7/open/deleted.JPG.json"))


FATES = {
    "moths": ("done", "detection"),
    "cut": ("failed", "image_truncated"),
    f"{NIGHT}/DCIM/empty.JPG": ("failed", "empty_file"),
    "clip.MOV": ("ignored", "no stage reads .mov"),
    "lost.JPG": ("not_received", CODES["not_received"].meaning),
    "st7/open/deleted.JPG": ("gone", "came and was read, but it is not in the bucket any more"),
    "stopped": ("cancelled", "delete _CANCEL"),
    "dropped.jpg": ("unlisted", "does not list it (any more)"),
    "id-kept": ("done", "detection"),
    "id-dropped": ("unlisted", "does not list it (any more)"),
    "far away": ("failed", "fetch_refused"),
    "waiting.JPG": ("waiting", "No engine serves"),
    "nothing yet.JPG": ("waiting", "no bytes"),
    "in vain": ("refused", "Correct jobs/ecos/m3.json and send it again."),
    "left again.JPG": ("done", "not in the bucket any more; what was found stays"),
    "replaced since.JPG": ("changed", "Other bytes came"),
    "sheet": ("nothing_found", "A person (Ada) says: silver y 1."),
    "odd\\x01name": ("unusable", CODES["key_unusable"].meaning),
}


@pytest.mark.parametrize("what", FATES)
def test_an_image_is_explained_by_its_fate(asked: Asked, what: str) -> None:
    kind, says = FATES[what]
    said, told = asked.json(what), asked.told(what)
    assert said["fate"] == kind, said
    assert says in told, told
    if kind in ("failed", "not_received", "unusable", "cancelled", "unlisted", "ignored", "refused"):
        assert said["todo"] and " ".join(said["todo"].split()) in told


def test_a_failure_is_told_in_the_words_of_its_code_with_its_remedy_once(asked: Asked) -> None:
    told = asked.told("cut")
    assert told.count(CODES["image_truncated"].meaning) == 1
    assert told.count(CODES["image_truncated"].remedy) == 1
    assert "classify could not follow" in told and "blocked: detect failed" in told


def test_an_image_that_was_replaced_tells_which_revision_was_made_of_which_bytes(asked: Asked) -> None:
    said = asked.json("twice.JPG")
    assert [told["sha256"] == said["sha256"] for told in said["revisions"]] == [True, True, False]
    assert "other bytes" in asked.told("twice.JPG")


def test_a_file_on_a_card_is_found_by_its_path_and_compared(asked: Asked) -> None:
    assert asked.json(str(asked.card / "moths.JPG"))["rel"] == f"{NIGHT}/DCIM/moths.JPG"
    assert "moths.JPG: the same bytes" in asked.told(str(asked.card / "moths.JPG"))
    assert "empty.JPG: other bytes than in the bucket" in asked.told(str(asked.card / "empty.JPG"))
    new = asked.card / "never sent.JPG"
    new.write_bytes(b"x")
    assert "It was not uploaded" in asked.told(str(new), rc=1)


def test_what_nobody_ever_heard_of_is_said_to_be_so(asked: Asked) -> None:
    told = asked.told("IMG_9999.JPG", rc=1)
    assert "There is no image 'IMG_9999.JPG'" in told and "no record, failure, manifest or `_DONE` names it" in told
