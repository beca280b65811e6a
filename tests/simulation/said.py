"""Whatever tells of a job's newest revision tells the same: status, its line, tables, copies, dead letters."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.clients import folder
from tests.simulation.plan import JOBS
from tests.simulation.story import Broken
from trapline.keys import Layout, fetched_name
from trapline.records.received import ReceivedFile

if TYPE_CHECKING:
    from tests.simulation.world import Simulated

NEVER_HERE = ("fetch_refused", "fetch_not_found", "fetch_too_large", "fetch_failed", "source_missing", "key_unusable")
Said = dict[str, Any]


def check(world: Simulated, job: str, summary: Said, status: Said, lines: list[Said]) -> None:
    """Compare everything with the results."""
    lost = missing(world, job, lines) if job != JOBS[-1] else summary["not_received_count"]
    if (summary["not_received_count"], status["not_received_count"]) != (lost, lost):
        raise Broken("what a `_DONE` says and is not there is told", f"{job} {summary['not_received_count']}: {lost}")
    codes = _counts(world, job, summary, status, lines)
    _files(world, job, summary, status, lines)
    never = lost + sum(n for code, n in codes.items() if code in NEVER_HERE)
    absent, late = _cut_off(world, summary)
    if late and b" missing " in (world.bucket.data(f"status/{job}.txt") or b""):
        absent += late
    _line(world, job, summary, status, never + absent)
    _letters(world, summary)
    _ids(world, job, summary)
    receipt = world.checks.json(f"receipts/{job}/{summary['revision'][1:]}.json")
    if status["told"] != (receipt["outcome"] if receipt else "dead letter"):
        raise Broken("a status says whether the client was told", f"{job} {status['told']} {receipt}")


def _cut_off(world: Simulated, summary: Said) -> tuple[int, int]:
    """How many images a deadline kept from being fetched, and how many came all the same: these nobody need hear of."""
    cut_off = [f["rel"] for f in summary["failures"] if (f["stage"], f["code"]) == ("fetch", "deadline_passed")]
    absent = sum(world.bucket.data(f"incoming/{rel}") is None for rel in cut_off)
    return absent, len(cut_off) - absent


def _counts(world: Simulated, job: str, summary: Said, status: Said, lines: list[Said]) -> Counter[str]:
    codes = Counter(line["code"] for line in lines if line["state"] == "failed")
    failed, unusable = codes.total(), summary["images"]["unusable"]
    codes += Counter({"key_unusable": unusable})
    counts = {"total": len(lines), "done": len(lines) - failed, "failed": failed + unusable, "open": 0}
    told = {name: status["images"][name] for name in counts}
    failed_at = [(line["rel"], line["code"]) for line in lines if line["state"] == "failed"]
    if world.plan.joined and not world.plan.cursed:
        failed_at = _letters_there(world, summary, lines)
    by_code = Counter(code for _, code in set(failed_at)) + Counter({"key_unusable": unusable})  # images, not stages
    exact = not (world.plan.joined and world.plan.cursed)
    if told != counts or (exact and (status["failures"] != by_code or summary["failures_by_code"] != by_code)):
        raise Broken("a status counts what the results hold", f"{job} {told} {status['failures']}: {counts} {by_code}")
    named = sorted(failure["rel"] for failure in summary["failures"])
    if exact and named != sorted(rel for rel, _ in failed_at):
        raise Broken("a summary names what failed", f"{job} {summary['failures']}")
    return by_code if exact else Counter(status["failures"])


def _letters_there(world: Simulated, summary: Said, lines: list[Said]) -> list[tuple[str, str]]:
    """Every dead letter of the members, of their bytes and recipes, as (rel, code): one may fail at several stages."""
    late = "deadline" in (world.clients.manifest(summary["job"]) or {})  # what came after it is not looked at
    found: list[tuple[str, str]] = []
    failed: set[tuple[str, str]] = set()
    for stage in ("fetch", *world.plan.prefixes):
        for rel in (line["rel"] for line in lines):
            letter = world.checks.json(f"failed/{stage}/{rel}.json")
            data = world.bucket.data(f"incoming/{rel}")
            there = {"", hashlib.sha256(data).hexdigest()} if data is not None and not late else None
            if letter is None or letter["recipe"] != summary["pins"][stage]["recipe"]:
                continue
            lost = {above for of, above in failed if of == rel}
            blocked = any(lost.issuperset(way) for way in _BLOCKED_BY.get(stage, ()))
            if not blocked and (there is None or letter["source"]["sha256"] in there):
                failed.add((rel, stage))
                found.append((rel, letter["code"]))
    return found


_BLOCKED_BY: dict[str, list[set[str]]] = {
    "detect": [{"fetch"}],
    "classify": [{"fetch"}, {"detect"}],
    "second": [{"fetch"}],
    "beside": [{"fetch"}, {"detect"}],
    "join": [{"fetch"}, {"detect", "second"}, {"classify", "second"}],
}


def _files(world: Simulated, job: str, summary: Said, status: Said, lines: list[Said]) -> None:
    for file in summary["files"]:
        if world.bucket.data(f"results/{job}/{file['name']}") != world.bucket.data(file["key"]):
            raise Broken("a copy is of the newest revision", f"{job} {file['name']}")
    table = (world.bucket.data(f"status/{job}.received.csv") or b"").decode().splitlines()[1:]
    states = Counter(row.split(",")[3] for row in table)
    if (states["done"], states["failed"]) != (status["images"]["done"], status["images"]["failed"]):
        raise Broken("the list of what was received is true", f"{job} {states} {status['images']}")


def listed(world: Simulated, job: str, files: list[ReceivedFile]) -> None:
    """A list of what was received, as it is written: a checksum beside the etag that is there is of the bytes there."""
    for file in files:
        key = "incoming/" + Layout().rel_in_list(job, file.file)
        data = world.bucket.data(key)
        if data is None or not file.sha256 or file.etag != world.bucket.head(key).etag:
            continue
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise Broken("nobody wipes a card too early", f"{key} {file}")


def _line(world: Simulated, job: str, summary: Said, status: Said, never: int) -> None:
    one = (world.bucket.data(f"status/{job}.txt") or b"").decode()
    unclear = bool(status["message"].startswith("_DONE holds"))
    whole = summary["state"] in ("SUCCEEDED", "PARTIAL") and not never and not unclear
    word = _arrival(world, job) if whole else ""
    said = [known for known in ("all received", "gone", "count met", "unchecked", "no _DONE") if f" {known} " in one]
    if said != [word] * whole:
        raise Broken("nobody wipes a card too early", f"{job} {one.strip()} {never} {word}")


def _arrival(world: Simulated, job: str) -> str:
    """What the line of a job that lacks nothing says, as the bucket has it."""
    manifest = world.clients.manifest(job)
    if manifest:
        keys = [_key(job, listed) for listed in manifest["sourceImages"]]
        return "gone" if any(world.bucket.data(key) is None for key in keys) else "all received"
    done = world.bucket.data(folder(job) + "_DONE")
    text = (done or b"").decode().strip()
    if not text:
        return "no _DONE" if done is None else "unchecked"
    if text.isdecimal():
        return "count met" if int(text) else "unchecked"
    named = [line.split("  ", 1)[1] for line in text.splitlines() if "  " in line]
    return "gone" if any(world.bucket.data(folder(job) + name) is None for name in named) else "all received"


def _key(job: str, listed: Said) -> str:
    own = listed["url"].startswith("incoming/")
    return str(listed["url"]) if own else f"incoming/{job}/{fetched_name(listed['id'], listed['url'])}"


def _letters(world: Simulated, summary: Said) -> None:
    """Every failure has its dead letter: who deletes it has it tried again."""
    for failure in summary["failures"]:
        key = failure["letter"] or f"failed/{failure['stage']}/{failure['rel']}.json"
        letter = world.checks.json(key)
        if letter is None or letter["code"] != failure["code"]:
            raise Broken("what failed has its dead letter", f"{key} {letter} {failure}")


def _ids(world: Simulated, job: str, summary: Said) -> None:
    manifest = world.clients.manifest(job)
    if manifest:
        ids = {listed["id"] for listed in manifest["sourceImages"]}
        if {entry.get("id") for entry in world.checks.roll(job, summary)} - ids:
            raise Broken("a listed image keeps its client's name", job)


def missing(world: Simulated, job: str, lines: list[Said]) -> int:
    """How many images the job's `_DONE` says that are not there as it says."""
    text = (world.bucket.data(folder(job) + "_DONE") or b"").decode().strip()
    if not text or world.clients.manifest(job) is not None:
        return 0
    if text.isdecimal():
        return max(0, int(text) - len(lines))
    kept = {line["rel"]: line["sha256"] for line in lines}
    named = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    place = folder(job).removeprefix("incoming/")
    return sum(_differs(world, place + name, sha, kept) for sha, name in named)


def _differs(world: Simulated, rel: str, sha: str, kept: dict[str, str]) -> bool:
    if rel not in world.checks.history:
        return True
    data = world.bucket.data(f"incoming/{rel}")
    return (kept.get(rel) if data is None else hashlib.sha256(data).hexdigest()) != sha
