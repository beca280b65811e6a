"""What must hold when the dust has settled."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation import fates, said
from tests.simulation.plan import JOBS
from tests.simulation.story import Broken

if TYPE_CHECKING:
    from tests.simulation.world import Simulated


def reached(world: Simulated) -> bool:
    """Whether everything is as it must be in the end."""
    try:
        check(world)
    except Broken:
        return False
    return True


def check(world: Simulated) -> None:
    """Every image is accounted for exactly once, everybody was told, nothing is left over."""
    for job in JOBS:
        _job(world, job)
    if world.plan.calm:
        fates.ran_once(world)


def _job(world: Simulated, job: str) -> None:
    expected = fates.expected(world, job)
    summary, status = world.checks.json(f"results/{job}/summary.json"), world.checks.json(f"status/{job}.json")
    if not expected and summary is None:
        return
    if summary is None or not summary["final"] or status is None or not status["closed"]:
        raise Broken("every job closes", f"{job} {status} {summary and summary['revision']}")
    world.checks.whole(job, summary)
    lines = world.checks.lines(summary)
    if lines is None:
        if not fates.compile_may_fail(world):
            raise Broken("every job is compiled", f"{job} {summary['results']}")
    else:
        _lines(world, job, expected, lines)
        said.check(world, job, summary, status, lines)
        _reviewed(world, job, summary)
    _pins(world, job, summary)
    _told(world, job, summary)
    if status["revision"] != summary["revision"] or status["state"] != summary["state"]:
        raise Broken(
            "a status is of the newest revision",
            f"{job} {status['state']} {status['revision']} {summary['state']} {summary['revision']}",
        )


def _lines(world: Simulated, job: str, expected: dict[str, fates.Fate], lines: list[dict[str, Any]]) -> None:
    gone = {line["rel"] for line in lines if world.checks.is_gone(line["rel"])} - expected.keys()
    found = Counter(line["rel"] for line in lines if line["rel"] not in gone)
    if found != Counter(expected.keys()):
        raise Broken("every image is accounted for exactly once", f"{job}: {dict(found)}, there are {sorted(expected)}")
    for line in lines:
        rel = line["rel"]
        if rel in gone:
            continue  # it keeps what it has
        if line["state"] == "failed" or not world.checks.is_gone(rel):  # what is kept is of bytes that were there
            expected[rel].check(rel, line)
        if line["state"] != "failed":
            *_, last = world.plan.prefixes.values()
            record = world.checks.json(f"{last}{rel}.json")
            if record is None or record["source"]["sha256"] != line["sha256"]:
                raise Broken("the record is of the bytes that are there", rel)
            _dead_letters(world, rel, line)


def _reviewed(world: Simulated, job: str, summary: dict[str, Any]) -> None:
    """The newest results are of what people say now."""
    review = world.bucket.data(f"labels/{job}.csv")
    told = summary["results"].get("review")
    if told != (review.decode() if review is not None else None) and not (world.plan.cursed and told is None):
        raise Broken("a review counts in the next revision", f"{job} {told} {review!r}")


def _dead_letters(world: Simulated, rel: str, line: dict[str, Any]) -> None:
    """What an image that is done went on without has its dead letter, and nothing else has."""
    failed = {s for s in ("fetch", *world.plan.prefixes) if world.bucket.data(f"failed/{s}/{rel}.json") is not None}
    missing = {"classify": {"detect", "classify"}, "second": {"second"}}
    for stage in line["missing"]:
        if not failed & missing[stage] and not world.plan.cursed and not world.checks.is_gone(rel):
            raise Broken("what is missing has failed", f"{rel} {stage} {failed}")
    may = {"beside"}.union(*(missing[stage] for stage in line["missing"]))
    if failed - may:
        raise Broken("what is done has no dead letter", f"{rel} {sorted(failed - may)}")


def _pins(world: Simulated, job: str, summary: dict[str, Any]) -> None:
    """The newest revision was made as its manifest, and whoever asked for it anew, wished."""
    pins, manifest = summary["pins"], world.clients.manifest(job) or {}
    stages = (manifest.get("pipelineConfig") or {}).get("stages", [{}])
    wished = stages[0].get("parameters", {}).get("mark", "plain")
    if pins["detect"]["parameters"]["mark"] != wished:
        raise Broken("a manifest's wishes are followed", f"{job} {pins['detect']['parameters']} {wished}")
    version, asked = pins["classify"]["model"]["version"], world.checks.asked_anew.get(job)
    ends = [at for at, _ in world.checks.current[1:]] + [float("inf")]
    possible = {v for (_, v), end in zip(world.checks.current, ends, strict=True) if asked is None or end > asked}
    if version not in possible:
        raise Broken("a job that is reprocessed gets the model in force", f"{job} {version} {possible}")


def _told(world: Simulated, job: str, summary: dict[str, Any]) -> None:
    receipts = {key.rpartition("/")[2][:-5] for key in world.bucket.keys(f"receipts/{job}/")}
    dead = {key.rpartition("/")[2][:-5] for key in world.bucket.keys(f"failed/notify/{job}/")}
    finals = {final["revision"].removeprefix("r") for final in summary["finals"]}
    finals |= {f"{final['revision'].removeprefix('r')}.people" for final in summary["finals"] if final["people"]}
    if receipts & dead or finals - receipts - dead:
        raise Broken(
            "every final revision has one receipt",
            f"{job}: {sorted(finals)}, receipts {sorted(receipts)}, dead letters {sorted(dead)}",
        )
    newest = summary["revision"].removeprefix("r")
    for name in (newest, f"{newest}.people"):
        receipt = world.checks.json(f"receipts/{job}/{name}.json")
        if receipt is not None and receipt["outcome"] == "overtaken":
            raise Broken("the newest revision is told itself", f"{job} {name}")


def nothing_owed(world: Simulated) -> None:
    """The engine has nothing left to do, and nothing in memory."""
    for engine in world.alive:
        held = engine.world
        left = {"jobs": list(held.ledger.jobs), "desks": list(held.desks), "tickets": list(held.ledger.held)}
        left["effects"] = [job for job, waiting in held.effects.items() if waiting]
        if any(left.values()):
            raise Broken("nothing is owed in the end", f"{left}")
    junk = [k for k in world.bucket.keys("") if "/live-" in k or k.startswith(("control/requests/", "control/rolls/"))]
    junk += [folder for job in JOBS for folder in _unnamed(world, job)]
    if junk:
        raise Broken("nothing is left over in the end", f"{junk}")


def _unnamed(world: Simulated, job: str) -> list[str]:
    """Folders of revisions that no summary names."""
    kept = world.checks.kept(job)
    level = world.bucket.level(f"results/{job}/")
    return [folder for folder in level.folders if folder.rstrip("/").rpartition("/")[2] not in kept]
