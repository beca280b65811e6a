"""What must hold at every step of a world."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from tests.simulation import fates, revisions, said
from tests.simulation.clients import folder
from tests.simulation.plan import JOBS
from tests.simulation.story import Broken
from trapline.errors import CODES
from trapline.records.received import read_table

if TYPE_CHECKING:
    from tests.simulation.world import Engine, Simulated

_REVISION = re.compile(r"^r(\d+)-[0-9a-f]{8}$")
NOTICED = 120.0  # seconds after which an engine has noticed what was done
AT_ONCE = 10.0  # seconds between the look at a job that closes and its summary, where requests are quick
_FINAL = ("SUCCEEDED", "PARTIAL", "FAILED")
_OWN_PREFIXES = ("control/", "results/", "receipts/", "status/", "failed/", "logs/", "files/")


class Checks:
    """Watches every write of a world."""

    def __init__(self, world: Simulated) -> None:
        self._world = world
        self._put: dict[str, tuple[float, str]] = {}  # rel → (when, hash) of the bytes that are there
        self._manifests: defaultdict[str, set[str]] = defaultdict(set)  # job → what their refusals would be called
        self.history: defaultdict[str, set[str]] = defaultdict(set)  # rel → hashes of all the bytes it ever had
        self._named: dict[str, str] = {}  # key of a named final revision's file → hash
        self._finals: defaultdict[str, list[str]] = defaultdict(list)  # job → revisions named, in order
        self._made_of: dict[tuple[str, str], str] = {}  # (job, revision) → what it was made of
        self._config: defaultdict[str, int] = defaultdict(int)  # job → how often something let it be pinned anew
        self._pinned: dict[str, tuple[str, int]] = {}  # job → (recipes, how often they changed)
        self._touched = dict.fromkeys(JOBS, 0.0)  # job that may be open → when somebody did something to it
        self._cancelled: dict[str, float] = {}  # job → since when a `_CANCEL` is there
        self._came: dict[tuple[str, str], float] = {}  # (rel, etag) → when a client put it there
        self._listed: dict[str, float] = {}  # job → when its manifest was last sent, changed or deleted
        self._done_or_listed: set[str] = set()  # jobs that ever had a `_DONE` or a manifest
        self.current: list[tuple[float, str]] = []  # (since when, which model version) is in force
        self.asked_anew: dict[str, float] = {}  # job → when it was last asked to be reprocessed
        self._webhooks: dict[str, tuple[str, str]] = {}
        self.broken: Broken | None = None  # the first promise that did not hold

    def changed(self, who: str, key: str, data: bytes | None) -> None:
        """Called after every change of the bucket. What is found wrong is kept: who wrote may not care."""
        try:
            self._changed(who, key, data)
        except Broken as broken:
            self.broken = self.broken or broken
            self._world.story.add("checks", f"BROKEN {broken}")

    def _changed(self, who: str, key: str, data: bytes | None) -> None:
        if who in ("client", "power loss"):
            self._outside(who, key, data)
        elif key.startswith("incoming/") and data is not None:
            self._image(key[9:], data)  # `fetch` acts like a station
        elif not key.startswith((*_OWN_PREFIXES, *self._world.plan.prefixes.values(), "quarantine/")):
            raise Broken("the engine writes what is not its own", f"{who} {key}")
        else:
            self._inside(key, data)

    def new_life(self, variant: int, before: int) -> None:
        """An engine of perhaps another pipeline begins."""
        if variant != before:
            self._touched = dict.fromkeys(JOBS, self._world.loop.time())

    def heard(self, key: str) -> None:
        """An engine hears late of a change: where a dead letter went, it reads again what it has closed since."""
        now = self._world.loop.time()
        self._touched.update({job: now for job in JOBS if key.startswith("failed/") and job in key})

    def _outside(self, who: str, key: str, data: bytes | None) -> None:
        touched = [job for job in JOBS if job in key or job == JOBS[-1] or "requests/" in key]
        self._touched.update(dict.fromkeys(touched, self._world.loop.time()))
        now = self._world.loop.time()
        if key.endswith("/_DONE") or key.startswith("jobs/"):
            self._done_or_listed.update(job for job in JOBS if key in (folder(job) + "_DONE", f"jobs/{job}.json"))
        if key.endswith("/current") and data is not None:
            self.current.append((now, data.decode()))
        if key.startswith("control/requests/") and data is not None and who == "client":
            request = json.loads(data)
            if request["action"] == "reprocess":
                self.asked_anew[request["job"]] = now
        if key.startswith("incoming/") and data is not None:
            self._came[key[9:], self._world.bucket.head(key).etag] = now
        if key.endswith("/_CANCEL"):
            self._cancel(key, data is not None)
        elif key.startswith("incoming/"):
            self._image(key[9:], data)
        elif key.startswith("jobs/"):
            self._config[key[5:-5]] += 1
            self._listed[key[5:-5]] = now
            if data is not None:
                self._manifests[key[5:-5]].add(f"refused-{_sha(data)[:8]}")
        elif key.startswith("control/jobs/"):
            self._config[key[13:-5]] += 1  # torn: its pins are lost

    def _image(self, rel: str, data: bytes | None) -> None:
        if data is None:
            self._put.pop(rel, None)
            return
        sha = _sha(data)
        self.history[rel].add(sha)
        if self._put.get(rel, (0.0, ""))[1] != sha:
            self._put[rel] = (self._world.loop.time(), sha)

    def _cancel(self, key: str, there: bool) -> None:
        job = next(job for job in JOBS if folder(job) + "_CANCEL" == key)
        if there:
            self._cancelled.setdefault(job, self._world.loop.time())
        else:
            self._cancelled.pop(job, None)

    def _inside(self, key: str, data: bytes | None) -> None:
        prefix, _, rest = key.partition("/")
        if data is not None and b"token-" in data:
            raise Broken("a client's token stays in its manifest", key)
        if prefix == "results":
            self._result(key, rest, data)
        elif data is None:
            return
        elif f"{prefix}/" in self._world.plan.prefixes.values():
            self._record(rest.removesuffix(".json"), json.loads(data))
            self._produced(rest, json.loads(data))
        elif prefix == "failed":
            self._dead_letter(key, json.loads(data))
        elif prefix == "status" and key.endswith(".json"):
            self._status(rest.removesuffix(".json"), json.loads(data))
        elif prefix == "status" and key.endswith(".received.csv"):
            said.listed(self._world, rest.removesuffix(".received.csv"), read_table(data, key))
        elif prefix == "receipts":
            self._receipt(rest, json.loads(data))
        elif key.startswith("control/jobs/"):
            self._control(key[13:-5], json.loads(data))

    def _result(self, key: str, rest: str, data: bytes | None) -> None:
        job, (place, _, name) = "/".join(rest.split("/")[:2]), "/".join(rest.split("/")[2:]).partition("/")
        if key in self._named:
            if data is None and place in self.kept(job):
                raise Broken("a named revision vanished", key)
            if data is not None and _sha(data) != self._named[key]:
                raise Broken("a named revision changed", key)
        elif data is not None and name and place in self._finals[job]:
            raise Broken("a named revision grew", key)
        if place == "summary.json" and data is not None:
            self._summary(job, json.loads(data))

    def kept(self, job: str) -> set[str]:
        """The revisions that the job's summary names."""
        summary = self.json(f"results/{job}/summary.json") or {}
        return {summary.get("revision", ""), *(final["revision"] for final in summary.get("finals", ()))}

    def _summary(self, job: str, summary: dict[str, Any]) -> None:
        self.whole(job, summary)
        revision = summary["revision"]
        if not summary["final"] or revision in self._finals[job]:
            return
        match = _REVISION.match(revision)
        numbers = [int(r[1:].partition("-")[0]) for r in self._finals[job]]
        if match is None or int(match[1]) <= max(numbers, default=0):
            raise Broken("a revision's number exceeds all before it", f"{job} {revision} after {self._finals[job]}")
        if summary["state"] not in _FINAL or summary["last_final"]["revision"] != revision:
            raise Broken("a final summary is final", f"{job} {revision} {summary['state']}")
        if self._world.loop.time() - self._cancelled.get(job, self._world.loop.time()) > NOTICED:
            raise Broken("a cancelled job publishes nothing", f"{job} {revision}")
        self._anew(job, summary)
        if "failure" not in summary["results"]:
            self._settled_first(job, summary)
            self._holds_all(job, summary)
            self._complete(job, summary)
        if len(summary["finals"]) > self._world.plan.keep:
            raise Broken("old revisions are let go", f"{job} names {len(summary['finals'])}")
        self._finals[job].append(revision)
        for key in self._world.bucket.keys(f"results/{job}/{revision}/"):
            self._named[key] = _sha(self._world.bucket.data(key) or b"")
        self._counts(job, summary)

    def _holds_all(self, job: str, summary: dict[str, Any]) -> None:
        """A final revision holds every image that had been there for a while."""
        roll = (self._world.bucket.data(f"results/{job}/{summary['revision']}/members.jsonl") or b"").splitlines()
        held, now = {json.loads(line)["rel"] for line in roll}, self._world.loop.time()
        for rel in fates.expected(self._world, job).keys() - held:
            entry = self._json_entry(f"incoming/{rel}")
            member_since = max(self._came.get((rel, entry.etag), now), self._listed.get(job, 0.0)) if entry else now
            if now - member_since > NOTICED:
                raise Broken("a final revision holds every image", f"{job} {summary['revision']} lacks {rel}")

    def _json_entry(self, key: str) -> Any:
        return self._world.bucket.head(key) if self._world.bucket.data(key) is not None else None

    def _settled_first(self, job: str, summary: dict[str, Any]) -> None:
        """Without a `_DONE`, a job closes only when nothing came for as long as it has to settle."""
        plan, bucket = self._world.plan, self._world.bucket
        if self._finals[job] or plan.etags != "unique" or job in self._done_or_listed:
            return
        for line in (bucket.data(f"results/{job}/{summary['revision']}/members.jsonl") or b"").splitlines():
            entry = json.loads(line)
            since = self._world.loop.time() - self._came.get((entry["rel"], entry.get("etag", "")), -1e9)
            if since < 60.0:
                raise Broken("a job settles before it closes", f"{job} {entry['rel']} came {since:.1f} s before")

    def whole(self, job: str, summary: dict[str, Any]) -> None:
        """Whatever a summary names is there, as it says."""
        for file in summary["files"]:
            data = self._world.bucket.data(file["key"])
            if data is None or _sha(data) != file["sha256"]:
                raise Broken("a summary names what is not there", f"{job} {file['key']}")

    def _complete(self, job: str, summary: dict[str, Any]) -> None:
        """A final revision is of all that was there when the job closed, as far as nothing but events went wrong."""
        plan, there = self._world.plan, fates.folder_images(self._world, job)
        if plan.store or plan.slow or plan.workers or plan.functions or self._world.clients.manifest(job) is not None:
            return
        members = {entry["rel"]: entry for entry in self.roll(job, summary)}
        for rel in there:
            at, sha = self._put[rel]
            old = at < self._world.loop.time() - AT_ONCE
            if old and (rel not in members or members[rel]["sha256"] not in ("", sha)):
                raise Broken("a final revision is of all that was there", f"{job} {summary['revision']} {rel}")

    def roll(self, job: str, summary: dict[str, Any]) -> list[dict[str, Any]]:
        data = self._world.bucket.data(f"results/{job}/{summary['revision']}/members.jsonl") or b""
        return [{"sha256": "", **json.loads(line)} for line in data.splitlines()]

    def _anew(self, job: str, summary: dict[str, Any]) -> None:
        """A new revision is of something new."""
        lines = sorted(self._member(entry) for entry in self.roll(job, summary))
        manifest = self._world.clients.manifest(job) or {}
        said = {key: manifest.get(key) for key in ("sourceImages", "pipelineConfig")}
        recipe = summary["pins"]["compile"]["recipe"]
        lost = [summary.get(key) for key in ("not_received_count", "not_received", "done_problem")]
        failures = sorted([f["rel"], f["stage"], f["code"]] for f in summary["failures"])
        review = [summary["results"].get(key) for key in ("review", "review_problem")]
        unusable = summary["images"]["unusable"]
        made = json.dumps([lines, failures, said, recipe, lost, unusable, review])
        last = self._finals[job][-1] if self._finals[job] else ""
        failed = "failure" in summary["results"]
        if self._made_of.get((job, last)) == made and not failed:
            raise Broken("an unchanged job makes no new revision", f"{job} {summary['revision']}")
        self._made_of[job, summary["revision"]] = "" if failed else made

    def _member(self, entry: dict[str, Any]) -> list[str]:
        if entry["state"] in ("done", "skipped"):
            return [entry["rel"], entry["sha256"], entry["recipe"]]
        return [entry["rel"], entry["stage"], entry["code"]]

    def _counts(self, job: str, summary: dict[str, Any]) -> None:
        """What a summary counts is what its results hold."""
        lines = self.lines(summary)
        if lines is None:
            return
        revisions.check(self._world, summary, lines, self._finals[job][:-1])
        images, failed = summary["images"], sum(line["state"] == "failed" for line in lines)
        if (images["total"], images["failed"]) != (len(lines), failed) or len({line["rel"] for line in lines}) != len(
            lines
        ):
            raise Broken("a summary counts its results", f"{job} {summary['revision']} {images}")
        # What failed at a stage that the results do without is named beside them.
        whole = not (failed or summary["failures"] or summary["not_received_count"] or images["unusable"])
        said = summary["state"] == "SUCCEEDED"
        if said != whole and not (whole and self._unclear(job)):
            raise Broken("a summary's state is true", f"{job} {summary['revision']} {summary['state']} {images}")
        for line in lines:
            if line["sha256"] and line["sha256"] not in self.history[line["rel"]]:
                raise Broken("a result is of bytes that were there", f"{job} {line['rel']}")
            self._by_its_pins(job, line, summary["pins"])

    def _unclear(self, job: str) -> bool:
        """Whether a `_DONE` was ever there that said nothing anybody understands."""
        steps = (step for life in self._world.plan.lives for step in life.steps)
        return any(what == "done" and given == (job, "garbage") for _, what, given in steps)

    def _by_its_pins(self, job: str, line: dict[str, Any], pins: dict[str, Any]) -> None:
        """Every image of a revision was made with the revision's recipes."""
        model, mark = pins["classify"]["model"]["version"], pins["detect"]["parameters"]["mark"]
        wrong = set(line["models"]) - {model} or (line["mark"] not in ("", mark))
        if wrong and not line["kept"]:
            raise Broken("a revision's images are made with its pins", f"{job} {line} is not of {model}, {mark}")

    def _record(self, rel: str, record: dict[str, Any]) -> None:
        source = record["source"]
        if source["key"] != f"incoming/{rel}" or source["sha256"] not in self.history[rel]:
            raise Broken("a record names its image", f"{rel} {source}")
        before = {"classify": {"detect"}, "beside": {"detect"}}.get(record["stage"], set())
        if record["stage"] == "join":
            before = {"detect", "classify", "second"}
            before -= (
                {"detect", *record["missing"]}
                if "classify" in record.get("missing", ())
                else {*record.get("missing", ())}
            )
        if set(record["stages"]) != before | {record["stage"]}:
            raise Broken("a record holds what earlier stages knew", f"{rel} {list(record['stages'])}")
        for note in record["stages"].values():
            for file in note.get("files", ()):
                if _sha(self._world.bucket.data(file["key"]) or b"") != file["sha256"]:
                    raise Broken("what a record names was written before it", f"{rel} {file}")

    def _produced(self, rel: str, record: dict[str, Any]) -> None:
        """A record says truly what made it, and of what it is the outcome."""
        by, known, stage = record["produced_by"], record["known"], record["stage"]
        if by["function"] != stage or by["version"] not in ("1.0.0", "2.0.0") or not 1 <= record["attempts"] <= 4:
            raise Broken("a record says what made it", f"{rel} {by} {record['attempts']}")
        if stage == "join":
            told = known["joined"]
            if not told["lacking"] == told["missing"] == record.get("missing", []):
                raise Broken("a join is told which is missing", f"{rel} {record.get('missing')} {told}")
        if stage != "classify":
            return
        shown = [d for d in known.get("detections", ()) if d["label"] == "insect"]
        if (record["outcome"] == "skipped") != (not shown):
            raise Broken("what `when` leaves out is skipped, nothing else", f"{rel} {record['outcome']} {known}")
        named = {c["model"] for d in known.get("detections", ()) for c in d.get("classifications", ())}
        model = by["model"] or {}
        if named - {model.get("version")} or model.get("sha256") != _sha(str(model.get("version")).encode()):
            raise Broken("a record says what made it", f"{rel} {by} {named}")
        if any(("classifications" in d) != (d["label"] == "insect") for d in known.get("detections", ())):
            raise Broken("a function sees what `when` lets through", f"{rel} {known}")

    def _dead_letter(self, key: str, letter: dict[str, Any]) -> None:
        if letter["code"] not in CODES or not letter["message"] or not letter.get("remedy"):
            raise Broken("a dead letter has a code, a message and a remedy", f"{key} {letter}")
        if letter["attempts"] > {"fetch": 3, "notify": 5, "compile": 8}.get(letter["stage"], 4):
            raise Broken("nothing is tried more often than is said", f"{key} {letter['attempts']}")

    def _status(self, job: str, status: dict[str, Any]) -> None:
        images = status["images"]
        if images["done"] + images["failed"] + images["open"] < images["total"]:
            raise Broken("a status counts every image", f"{job} {images}")
        if status["closed"] and status["state"] not in (*_FINAL, "CANCELLED"):
            raise Broken("a closed job has a final state", f"{job} {status['state']}")
        if not status["closed"] and job in JOBS and job not in self._touched and status["state"] != "CANCELLED":
            raise Broken("a closed job stays closed until something happens to it", f"{job} {status['state']} {images}")
        rivals = any(life.rivals for life in self._world.plan.lives)
        if status["closed"] and not rivals and self._world.loop.time() - self._touched.get(job, 0.0) > NOTICED:
            self._touched.pop(job, None)
        if status["closed"] and images["total"]:
            summary = self.json(f"results/{job}/summary.json") or {}
            if not summary.get("finals"):
                raise Broken("a closed job has results", f"{job} {status['revision']}")
        if status["closed"] and status["state"] == "SUCCEEDED" and (images["failed"] or images["open"]):
            raise Broken("a status's state is true", f"{job} {images}")

    def _receipt(self, rest: str, receipt: dict[str, Any]) -> None:
        job, _, name = rest.removesuffix(".json").rpartition("/")
        revision, people = name.removesuffix(".people"), name.endswith(".people")
        if revision in self._manifests[job]:
            if (job, "failed", "people" if people else "client") not in self._world.heard:
                raise Broken("a receipt proves that somebody was told", f"{job} {revision}")
            return
        if f"r{revision}" not in self._finals[job]:
            raise Broken("a receipt is of a revision that was named", f"{job} {revision}")
        everybody = self._world.told_people if people else self._world.told
        told = [told for told in everybody if told[:2] == (job, f"r{revision}")]
        if receipt["outcome"] not in ("overtaken", "unwanted") and not told:
            raise Broken("a receipt proves that somebody was told", f"{job} {revision}")
        for one in everybody:
            if self._webhooks.setdefault(one[2], one[:2]) != one[:2]:
                raise Broken("two revisions' clients can tell them apart", f"{one} {self._webhooks[one[2]]}")
        if len({webhook for *_, webhook in told}) > 1:
            raise Broken("a revision's client can drop repeats", f"{job} {told}")

    def _control(self, job: str, control: dict[str, Any]) -> None:
        if self._reprocessed(job):
            return
        recipes = json.dumps({stage: pin["recipe"] for stage, pin in control["pins"].items()})
        before = self._pinned.get(job, (recipes, 0))
        # Whoever did not hear that a first pin was written may pin once more, as long as nothing ran.
        ran = bool(self._world.bucket.keys("detections/" + folder(job).removeprefix("incoming/")))
        changes = before[1] + (ran and before[0] not in (recipes, "{}"))
        # What the engine read may be older than what is there: each cause allows for one change, whenever.
        lives = self._world.plan.lives
        causes = self._config[job] + sum(2 * (life.variant != 0) + 4 * life.rivals for life in lives)
        if changes > causes:
            raise Broken("a running job keeps its recipes", job)
        self._pinned[job] = (recipes, changes)

    def _reprocessed(self, job: str) -> bool:
        """Whether somebody ever asked that the job be pinned anew."""
        steps = (step for life in self._world.plan.lives for step in life.steps)
        return any(what == "request" and given == (job, "reprocess") for _, what, given in steps)

    def of_memory(self, engine: Engine) -> None:
        """What an engine holds is bounded by what it may track, not by what there is."""
        if engine.requests % 4 or self.broken:
            return
        try:
            self._memory(engine)
        except Broken as broken:
            self.broken = broken

    def _memory(self, engine: Engine) -> None:
        ledger, last = engine.world.ledger, engine.world.ledger.graph.last
        for job in ledger.jobs.values():
            changed = sum(len(self.history[rel]) > 1 for rel in job.images)
            most = self._world.plan.tracked + len(job.listed) + changed
            if job.open_images(last) > most and not self._read_anew():
                raise Broken("the images held of a job are bounded", f"{job.name} {job.open_images(last)}")
            queues: list[Sized] = [*job.ready, job.retries, job.suspects, job.to_read, job.to_hash]
            queued = sum(len(queue) for queue in queues)
            if queued > 40 + 12 * len(job.images):
                raise Broken("the queues of a job are bounded", f"{job.name} {queued} of {len(job.images)} images")

    def _read_anew(self) -> bool:
        """Whether images that were done may have become unknown, all at once."""
        lives = self._world.plan.lives
        steps = {what for life in lives for _, what, _ in life.steps}
        return bool(steps & {"manifest", "request", "exhume"}) or len({life.variant for life in lives}) > 1

    # -- what is there

    def is_gone(self, rel: str) -> bool:
        """Whether an image was there, and its bytes were deleted."""
        return rel in self.history and self._world.bucket.data(f"incoming/{rel}") is None

    def lines(self, summary: dict[str, Any]) -> list[dict[str, Any]] | None:
        """A revision's results; None where it could not be compiled."""
        file = next((f for f in summary["files"] if f["name"] == "results.jsonl"), None)
        data = self._world.bucket.data(file["key"]) if file else None
        return [json.loads(line) for line in data.splitlines()] if data is not None else None

    def json(self, key: str) -> Any:
        data = self._world.bucket.data(key)
        try:
            return json.loads(data) if data is not None else None
        except ValueError:
            return None


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
