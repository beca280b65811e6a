"""What stations, clients and power losses do to the bucket, one step at a time."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.simulation.plan import JOBS
from trapline.errors import KeyUnusable

if TYPE_CHECKING:
    from tests.simulation.world import Simulated

_MAY_TEAR = (
    "detections/", "classifications/", "seconds/", "joined/", "failed/", "control/jobs/", "control/seen/", "status/",
)  # fmt: skip
WANTED: tuple[dict[str, list[str]], ...] = (
    {},
    {},
    {"on": ["opened", "progress", "completed", "updated"]},
    {"on": ["completed"]},
    {"on": ["updated", "progress"]},
)
HERE = "https://pictures.example.org/"


class Clients:
    """Everybody who is not the engine."""

    def __init__(self, world: Simulated) -> None:
        self._world = world
        self._versions = 0
        self._requests = 0

    @property
    def set_deadlines(self) -> bool:
        """Whether any job had a deadline."""
        steps = (step for life in self._world.plan.lives for step in life.steps)
        return any(what == "manifest" and "deadline" in given[1] for _, what, given in steps)

    def perform(self, what: str, given: tuple[Any, ...]) -> None:
        """Do one step of a plan."""
        getattr(self, f"_{what}")(*given)

    def finish(self) -> None:
        """What lets every job close: nothing is cancelled or wrong any more, and every folder is done."""
        for job in JOBS:
            self._resume(job)
            manifest = self.manifest(job)
            if manifest == {}:
                self._manifest(job, {"images": [["i0", "moth"]]})
            elif manifest is None and self._world.bucket.keys(folder(job)):
                kinds = ("empty", "count", "more", "sums", "wrong")
                self._done(job, kinds[int(self._world.luck.draw("last done", job) * len(kinds))])
        self._request("", "sweep")

    def manifest(self, job: str) -> dict[str, Any] | None:
        """The job's manifest: None where there is none, empty where it is none that can be read."""
        data = self._world.bucket.data(f"jobs/{job}.json")
        if data is None:
            return None
        try:
            return dict(json.loads(data))
        except ValueError:
            return {}

    def tear(self, count: int, since: float) -> None:
        """A power loss: some of what was written last is cut off."""
        bucket = self._world.bucket
        for n in range(count):
            late = {key for at, who, key in bucket.written if at > since and who != "client"}
            keys = [key for key in sorted(late) if key.startswith(_MAY_TEAR) and bucket.data(key) is not None]
            if keys:
                key = self._pick("tear", self._world.luck.draw("tear", str(n)), keys)
                data = bucket.data(key) or b""
                bucket.who = "power loss"
                bucket.put(key, data[: len(data) // 2])

    # -- the steps

    def _image(self, job: str, name: str, words: str) -> None:
        self._put(folder(job) + name, words.encode())

    def _junk(self, job: str, name: str) -> None:
        self._put(folder(job) + name, b"junk")

    def _again(self, where: float) -> None:
        keys = [key for job in JOBS for key in self._world.bucket.keys(folder(job)) if not key.endswith("_DONE")]
        if keys:
            key = self._pick("again", where, keys)
            self._put(key, self._world.bucket.data(key) or b"")

    def _unimage(self, job: str, name: str) -> None:
        self._delete(folder(job) + name)

    def _done(self, job: str, kind: str) -> None:
        there = [key for key in self._world.bucket.keys(folder(job)) if key.endswith(".jpg")]
        count = {"count": len(there), "more": len(there) + 1}
        sums = self._sums(job, there)
        said = {"garbage": "all sent, Bob", "sums": sums, "wrong": sums + "0" * 64 + "  never.jpg\n"}
        text = f"{count[kind]}\n" if kind in count else said.get(kind, "")
        self._put(folder(job) + "_DONE", text.encode())

    def _sums(self, job: str, keys: list[str]) -> str:
        cut = len(folder(job))
        data = {key[cut:]: self._world.bucket.data(key) or b"" for key in keys}
        return "".join(f"{hashlib.sha256(found).hexdigest()}  {name}\n" for name, found in data.items())

    def _review(self, job: str, words: str) -> None:
        """A person says what is on the images, or takes it back."""
        if words:
            self._put(f"labels/{job}.csv", words.encode())
        else:
            self._delete(f"labels/{job}.csv")

    def _undone(self, job: str) -> None:
        self._delete(folder(job) + "_DONE")

    def _cancel(self, job: str) -> None:
        self._put(folder(job) + "_CANCEL", b"")

    def _resume(self, job: str) -> None:
        self._delete(folder(job) + "_CANCEL")

    def _exhume(self, where: float) -> None:
        letters = self._world.bucket.keys("failed/")
        if letters:
            self._delete(self._pick("exhume", where, letters))

    def _event(self, where: float) -> None:
        """An event of nothing, or of something that was there all along."""
        keys = [
            *self._world.bucket.keys(),
            "incoming/x",
            "nonsense//",
            "jobs/a.json",
            "",
            "incoming/",
            "failed/detect/x",
        ]
        self._world.tell(self._pick("event", where, keys), "created" if where < 0.5 else "removed")

    def _promote(self, version: int) -> None:
        self._versions += 1
        name = f"v{version}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        self._put(f"models/moths/{name}/model.yaml", f"sha256: {digest}\nfile: model.onnx\n".encode())
        self._put("models/moths/current", name.encode())

    def _request(self, job: str, action: str) -> None:
        self._requests += 1
        body = {"type": "trapline.request", "schema": 1, "action": action, "job": job}
        if action == "reprocess" and self._world.luck.draw("reprocess what", job) < 0.5:
            body["stage"] = "classify"
        self._put(f"control/requests/{self._requests}.json", json.dumps(body).encode())

    def _manifest(self, job: str, wishes: dict[str, Any]) -> None:
        listed = [{"id": ident, "url": f"{HERE}{word}.jpg"} for ident, word in wishes.get("images", ())]
        listed += [{"id": f"own {name}", "url": folder(job) + name} for name in wishes.get("own", ())]
        body: dict[str, Any] = {"sourceImages": listed, "priority": wishes.get("priority", 0)}
        if "mark" in wishes:
            detect = {"stage": "OBJECT_DETECTION", "parameters": {"mark": wishes["mark"]}}
            body["pipelineConfig"] = {"stages": [detect, {"stage": "CLASSIFICATION"}]}
        if "deadline" in wishes:
            body["deadline"] = f"PT{wishes['deadline']}S"
        if "token" in wishes:
            wanted = WANTED[int(self._world.luck.draw("wanted", job) * len(WANTED))]
            body["callback"] = {"callbackUrl": f"{HERE}done", "callbackToken": wishes["token"], **wanted}
        text = "{not a manifest" if wishes.get("wrong") else json.dumps(body)
        self._put(f"jobs/{job}.json", text.encode())

    # -- how

    def _pick(self, what: str, where: float, keys: list[str]) -> str:
        """One of several, the same one whatever else is there, as far as that is possible."""
        return min(keys, key=lambda key: hashlib.sha256(f"{what} {where} {key}".encode()).digest())

    def _put(self, key: str, data: bytes) -> None:
        world = self._world
        world.bucket.who = "client"
        world.bucket.forged = self._time(key)
        try:
            world.bucket.put(key, data)
        except KeyUnusable:
            return
        finally:
            world.bucket.forged = None
        world.tell(key, "created")

    def _time(self, key: str) -> float | None:
        """The modification time that the object gets; None: the true one."""
        luck = self._world.luck.draw("time", key)
        if self._world.plan.times == "kept":
            return 1e9 + hash_of(key) % 1000
        return luck * 4e9 if self._world.plan.times == "forged" else None

    def _delete(self, key: str) -> None:
        world = self._world
        if world.bucket.data(key) is not None:
            world.bucket.who = "client"
            world.bucket.delete(key)
            world.tell(key, "removed")


def folder(job: str) -> str:
    """Where a job's images lie."""
    return "incoming/" if job == "unsorted/unsorted" else f"incoming/{job}/"


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
