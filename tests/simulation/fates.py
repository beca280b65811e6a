"""What must become of each image, computed from the bucket alone and without any of the engine's code."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.clients import folder
from tests.simulation.story import Broken
from trapline.keys import fetched_name

if TYPE_CHECKING:
    from tests.simulation.world import Simulated

MISBEHAVING = {"bad": "image_unreadable", "raise": "function_error", "poison": "worker_died", "hang": "timeout"}
ONCE_ONLY = {"image", "done", "event", "junk", "again"}  # steps after which nothing runs twice


@dataclass(frozen=True)
class Fate:
    """How an image may end: done with these words, or failed with one of these codes."""

    words: str | None  # None: it cannot be done
    sha256: str
    codes: frozenset[str]

    def check(self, rel: str, line: dict[str, Any]) -> None:
        """Compare with a line of the results."""
        if line["state"] == "failed":
            if line["code"] not in self.codes:
                raise Broken("a good image is not lost", f"{rel} holds {self.words!r} and failed with {line['code']}")
            return
        if self.words is None:
            raise Broken("a bad image is not done", f"{rel} is {line['state']}, expected {sorted(self.codes)}")
        named = sorted(w for w in self.words.split() if w in ("moth", "beetle"))
        if sorted(line["labels"]) != named or line["sha256"] != self.sha256:
            raise Broken("a result is of the bytes that are there", f"{rel} holds {self.words!r}: {line}")


def expected(world: Simulated, job: str) -> dict[str, Fate]:
    """Every image of a job, and how it may end."""
    manifest = world.clients.manifest(job)
    if manifest:
        return dict(_listed(world, job, manifest, entry) for entry in manifest["sourceImages"])
    return {rel: _fate(world, rel) for rel in folder_images(world, job)}


def folder_images(world: Simulated, job: str) -> list[str]:
    """The images in a job's folder."""
    rels = [key[9:] for key in world.bucket.keys(folder(job))]
    if job == "unsorted/unsorted":
        rels = [rel for rel in rels if "/" not in rel or rel.startswith("unsorted/")]
    return [rel for rel in rels if _is_image(rel)]


def _is_image(rel: str) -> bool:
    name = rel.rpartition("/")[2]
    return name.lower().endswith(".jpg") and not name.startswith(".") and len(name) < 500


def _listed(world: Simulated, job: str, manifest: dict[str, Any], entry: dict[str, str]) -> tuple[str, Fate]:
    late = {"deadline_passed", "source_missing"} if "deadline" in manifest else set[str]()
    own = entry["url"].startswith("incoming/")
    rel = entry["url"].removeprefix("incoming/") if own else f"{job}/{fetched_name(entry['id'], entry['url'])}"
    there = world.bucket.data(f"incoming/{rel}") is not None
    if there:
        fate = _fate(world, rel)
        late |= _own_words(fate.words) if late and world.plan.joined else set()  # the other of the two is cut off
    elif own:
        fate = Fate(None, "", frozenset({"source_missing"}))
    else:
        absent = "absent" in entry["url"]
        fate = Fate(None, "", frozenset({"fetch_not_found"} if absent else set()) | _trouble(world, "fetch", rel))
    return rel, Fate(fate.words, fate.sha256, fate.codes | late)


def _fate(world: Simulated, rel: str) -> Fate:
    data = world.bucket.data(f"incoming/{rel}") or b""
    sha, words = hashlib.sha256(data).hexdigest(), data.decode()
    if not data:
        return Fate(None, sha, frozenset({"empty_file"}))
    trouble = _trouble(world, "detect", rel)
    if world.plan.joined:
        return _joined(world, words, sha, trouble)
    for word, code in MISBEHAVING.items():
        if word in words.split():
            return Fate(None, sha, frozenset({code}) | trouble)
    if "flaky" in words.split() and trouble:
        trouble |= {"function_error"}
    return Fate(words, sha, trouble)


def _joined(world: Simulated, words: str, sha: str, trouble: frozenset[str]) -> Fate:
    """A join needs one of two: `raise` is too much for both."""
    if "raise" in words.split():
        return Fate(None, sha, frozenset({"function_error"}) | trouble)
    if trouble:  # one of the two may be lost to it, and the other to the image's own words
        trouble |= _own_words(words)
    return Fate(words, sha, trouble)


def _own_words(words: str | None) -> set[str]:
    """With what one of a join's two stages may fail over an image's words."""
    said = set((words or "").split())
    return {MISBEHAVING[word] for word in said & MISBEHAVING.keys()} | (
        {"function_error"} if {"flaky", "moths"} & said else set()
    )


def _trouble(world: Simulated, stage: str, rel: str) -> frozenset[str]:
    """With what a good image may fail in this world."""
    plan, codes = world.plan, set[str]()
    if plan.workers:
        codes |= {"worker_died", "timeout", "function_error"}
    if plan.slow:
        codes |= {"timeout"}
    if stage == "fetch" and plan.functions:
        codes |= {"fetch_failed"}
    places = ("detections", "classifications", "seconds", "joined")
    files = plan.joined and plan.cursed  # whose keys are nobody's to guess
    if files or any(world.faults.cursed(f"{place}/{rel}.json") for place in places):
        codes |= {"store_refused", "key_unusable"}
    return frozenset(codes)


def compile_may_fail(world: Simulated) -> bool:
    """Whether a job's compile may be given up in this world."""
    return bool(world.plan.functions or world.plan.workers or world.plan.store or world.plan.slow)


def ran_once(world: Simulated) -> None:
    """Where nothing but events goes wrong, no function sees the same bytes of an image twice."""
    steps = [step for life in world.plan.lives for step in life.steps]
    quiet = all(what in ONCE_ONLY for _, what, _ in steps)
    kind = all(
        what != "image" or not set(given[2].split()) & {"raise", "poison", "hang", "flaky"} for _, what, given in steps
    )
    if quiet and kind:
        twice = [
            asked for asked, times in world.asked.items() if times > 1 and len(world.checks.history[asked[1]]) == 1
        ]
        told = [one for who in (world.told, world.told_people) for one, times in Counter(who).items() if times > 1]
        if told:
            raise Broken("nobody is told twice", f"{told}")
        if twice:
            raise Broken("nothing runs twice", f"{twice}")
