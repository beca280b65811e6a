"""Every rule about keys and prefixes: which key holds what, and what a key that turned up is.

No other file spells a prefix. Pure; nothing here reads a store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from trapline.errors import KeyUnusable

DONE = "_DONE"
CANCEL = "_CANCEL"
UNSORTED = "unsorted"
CANARY = "_CANARY/"  # under `incoming/`: what `trapline doctor` puts there to see who tells of it; no job
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".mpo", ".image")
)
_UNSAYABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # in no store: control characters, and what is not UTF-8
_JUNK_NAMES = frozenset(("thumbs.db", "desktop.ini"))
_RECORD = ".json"
_RECEIVED = ".received.csv"
_TABLE = ".csv"
_WORKBOOKS = frozenset((".xlsx", ".xlsm", ".xls", ".ods", ".numbers"))  # what a spreadsheet saves unless told otherwise

Kind = Literal[
    "image",
    "done",
    "cancel",
    "manifest",
    "record",
    "dead_letter",
    "request",
    "receipt",
    "ignored",
    "own",
    "foreign",
    "canary",
    "review",
    "workbook",
]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key is. `rel` is the path under `incoming/` (of the image it belongs to), where it has one."""

    kind: Kind
    job: str = ""
    rel: str = ""
    stage: str = ""
    why: str = ""  # for `ignored`: the reason, for people


@dataclass(frozen=True)
class Layout:
    """Where everything lies in one bucket. Prefixes end in `/`; `root` is put before all of them."""

    root: str = ""
    depth: int = 2  # how many folders under `incoming/` make a job
    incoming: str = "incoming/"
    jobs: str = "jobs/"
    results: str = "results/"
    receipts: str = "receipts/"
    status: str = "status/"
    failed: str = "failed/"
    logs: str = "logs/"
    files: str = "files/"
    quarantine: str = "quarantine/"
    models: str = "models/"
    labels: str = "labels/"
    control: str = "control/"
    records: dict[str, str] = field(default_factory=dict)  # per-image stage → its prefix
    gather: str = "compile"  # the stage whose dead letter is named for a job
    notify: str = "notify"  # … for a job's revision
    suffixes: frozenset[str] = IMAGE_SUFFIXES

    # -- images and jobs

    def image(self, rel: str) -> str:
        return f"{self.root}{self.incoming}{rel}"

    def rel_of_image(self, key: str) -> str:
        return key[len(self.root) + len(self.incoming) :]

    def job_of(self, rel: str) -> str:
        """The job an image belongs to: its first `depth` folders, missing ones read `unsorted`."""
        folders = rel.split("/")[:-1][: self.depth]
        return "/".join(folders + [UNSORTED] * (self.depth - len(folders)))

    def in_job(self, rel: str) -> bool:
        """Whether a file or a folder under `incoming/` is a job's, or may hold jobs: all but the canary's are."""
        return not rel.startswith(CANARY)

    def jobs_at(self, keys: Iterable[str], folders: Iterable[str]) -> tuple[set[str], list[str]]:
        """The jobs that one level of `incoming/` shows, and the folders in which there may be others."""
        jobs = {self.job_of(rel) for rel in map(self.rel_of_image, keys) if self.in_job(rel)}
        deeper = []
        for folder in folders:
            rel = self.rel_of_image(folder)
            if self.in_job(rel) and rel.count("/") < self.depth:
                deeper.append(folder)
            elif self.in_job(rel):
                jobs.add(rel.rstrip("/"))
        return jobs, deeper

    def job_places(self, job: str) -> list[tuple[str, bool]]:
        """Where a job's images lie, as (folder under a prefix, whether its subfolders belong to it too)."""
        parts = job.split("/")
        places = [(job + "/", True)]
        while parts and parts[-1] == UNSORTED:
            parts.pop()
            places.append(("/".join(parts) + "/" if parts else "", False))
        return places

    def marker(self, job: str, name: str) -> str:
        return f"{self.root}{self.incoming}{job}/{name}"

    def markers(self, job: str, name: str) -> list[str]:
        """Every key at which a job's `_DONE` or `_CANCEL` may stand."""
        return [f"{self.root}{self.incoming}{place}{name}" for place, _ in self.job_places(job)]

    def listed(self, job: str, bucket: str, image_id: str, url: str) -> tuple[str, bool]:
        """The rel of an image that a manifest lists, and whether it lies in the job's own folder already."""
        key = url.removeprefix(f"s3://{bucket}/")
        if key.startswith(self.image(f"{job}/")) and not self.why_ignored(self.rel_of_image(key)):
            return self.rel_of_image(key), True
        return f"{job}/{fetched_name(image_id, url)}", False

    def check_job(self, job: str) -> None:
        """Raise `KeyUnusable` where a job's name has the wrong shape."""
        parts = job.split("/")
        if len(parts) != self.depth or any(part in ("", ".", "..") or part.startswith(".") for part in parts):
            shape = "/".join(f"<folder{n + 1}>" for n in range(self.depth))
            raise KeyUnusable(f"{job!r} is not the name of a job.", remedy=f"A job is named {shape}.")

    # -- what stages write

    def record(self, stage: str, rel: str) -> str:
        return f"{self.root}{self.records[stage]}{rel}{_RECORD}"

    def file(self, stage: str, rel: str, made: str, name: str) -> str:
        """A file that a record refers to. `made` tells what it was made of and with: another making, another key."""
        return f"{self.root}{self.files}{stage}/{rel}/{short_hash(made, 8)}/{name}"

    def dead_letter(self, stage: str, rel: str) -> str:
        return f"{self.root}{self.failed}{stage}/{rel}{_RECORD}"

    def log(self, job: str, name: str) -> str:
        return f"{self.root}{self.logs}{job}/{name}"

    # -- a job's own objects

    def manifest(self, job: str) -> str:
        return f"{self.root}{self.jobs}{job}{_RECORD}"

    def result(self, job: str, name: str = "") -> str:
        return f"{self.root}{self.results}{job}/{name}"

    def summary(self, job: str) -> str:
        return self.result(job, "summary.json")

    def receipt(self, job: str, revision: str) -> str:
        """`revision` is `<N>-<hash8>`, for people `<N>-<hash8>.people`."""
        return f"{self.root}{self.receipts}{job}/{revision}{_RECORD}"

    def status_of(self, job: str, suffix: str) -> str:
        """`suffix` is `.json`, `.txt`, `.received.csv` or `.sha256`."""
        return f"{self.root}{self.status}{job}{suffix}"

    def name_in_list(self, job: str, rel: str) -> str:
        """An image's name in the lists of what was received: whole where the job has more places than one."""
        return rel if self._is_unsorted(job) else rel.removeprefix(f"{job}/")

    def rel_in_list(self, job: str, name: str) -> str:
        """The rel of such a name."""
        return name if self._is_unsorted(job) else f"{job}/{name}"

    @staticmethod
    def _is_unsorted(job: str) -> bool:
        return job.rsplit("/", maxsplit=1)[-1] == UNSORTED

    def review(self, job: str) -> str:
        """The table in which a person says what is on a job's images."""
        return f"{self.root}{self.labels}{job}{_TABLE}"

    def control_job(self, job: str) -> str:
        return f"{self.root}{self.control}jobs/{job}{_RECORD}"

    def seen(self, job: str) -> str:
        return f"{self.root}{self.control}seen/{job}{_RECORD}"

    def roll(self, job: str, ticket: str) -> str:
        return f"{self.root}{self.control}rolls/{job}/{ticket}.jsonl"

    @property
    def inflight(self) -> str:
        return f"{self.root}{self.control}inflight{_RECORD}"

    def epoch(self, n: int) -> str:
        """The n-th engine's claim on the bucket."""
        return f"{self.root}{self.control}epochs/{n:09d}{_RECORD}"

    @property
    def engine(self) -> str:
        """What was fixed at first use (the depth of jobs), and which release wrote here last."""
        return f"{self.root}{self.control}engine{_RECORD}"

    def request(self, name: str) -> str:
        return f"{self.root}{self.control}requests/{name}{_RECORD}"

    def canary(self, nonce: str, name: str) -> str:
        """An object by which somebody tries whether events come."""
        return self.image(f"{CANARY}{nonce}/{name}")

    def canary_heard(self, nonce: str) -> str:
        """What the engine says of it: which trigger told of it, and when."""
        return f"{self.root}{self.control}canaries/{nonce}{_RECORD}"

    def quarantined(self, key: str) -> str:
        return f"{self.root}{self.quarantine}keys/{short_hash(key, 32)}{_RECORD}"

    def quarantined_event(self, name: str) -> str:
        """A message that was no event anybody knows."""
        return f"{self.root}{self.quarantine}events/{name}{_RECORD}"

    # -- models

    def model_folder(self, name: str) -> str:
        """Where all versions of a model lie."""
        return f"{self.root}{self.models}{name}/"

    def model(self, name: str, version: str, file: str) -> str:
        return f"{self.root}{self.models}{name}/{version}/{file}"

    def model_current(self, name: str) -> str:
        return f"{self.root}{self.models}{name}/current"

    # -- prefixes to list

    def prefix(self, name: str) -> str:
        """The whole prefix of a part: one of this layout's own names, or a per-image stage."""
        return self.root + (self.records[name] if name in self.records else getattr(self, name))

    # -- reading a key

    def meaning(self, key: str) -> Meaning:
        """What a key is; never raises."""
        if not key.startswith(self.root):
            return Meaning("foreign")
        path = key[len(self.root) :]
        if path.startswith(self.incoming):
            return self._incoming(path[len(self.incoming) :])
        for prefix, kind in ((self.jobs, "manifest"), (self.control + "requests/", "request")):
            if path.startswith(prefix) and path.endswith(_RECORD):
                name = path[len(prefix) : -len(_RECORD)]
                return Meaning("manifest", job=name) if kind == "manifest" else Meaning("request", rel=name)
        if path.startswith(self.labels) and path.endswith(_TABLE):
            return Meaning("review", job=path[len(self.labels) : -len(_TABLE)])
        if path.startswith(self.labels) and suffix_of(path) in _WORKBOOKS:
            open_now = path.rpartition("/")[2].startswith(
                ("~$", ".")
            )  # a program's mark that it has the other one open
            return Meaning("own" if open_now else "workbook")
        return self._written(path)

    def _incoming(self, rel: str) -> Meaning:
        if not self.in_job(rel):
            return Meaning("canary", rel=rel)
        folder, _, name = rel.rpartition("/")
        job = self.job_of(rel)
        if name in (DONE, CANCEL) and any(
            folder + "/" == place or place == "" == folder for place, _ in self.job_places(job)
        ):
            return Meaning("done" if name == DONE else "cancel", job=job, rel=rel)
        why = self.why_ignored(rel)
        return Meaning("ignored", job=job, rel=rel, why=why) if why else Meaning("image", job=job, rel=rel)

    def why_ignored(self, rel: str) -> str:
        """Why a file under `incoming/` is not an image to read; empty when it is one."""
        name = rel.rpartition("/")[2]
        if not name:
            return "folder marker"
        if any(part.startswith(".") for part in rel.split("/")):
            return "hidden file"
        if name.lower() in _JUNK_NAMES:
            return "made by the operating system"
        if name in (DONE, CANCEL):
            return f"{name} counts only in a job's own folder"
        suffix = suffix_of(name)
        return "" if suffix in self.suffixes else f"no stage reads {suffix or 'files without a suffix'}"

    def _written(self, path: str) -> Meaning:
        if not path.endswith(_RECORD):
            return Meaning("own" if self._ours(path) else "foreign")
        if path.startswith(self.failed):
            stage, _, rel = path[len(self.failed) : -len(_RECORD)].partition("/")
            job = {self.gather: rel, self.notify: rel.rpartition("/")[0]}.get(stage) or self.job_of(rel)
            return Meaning("dead_letter", job=job, rel=rel, stage=stage)
        for stage, prefix in self.records.items():
            if path.startswith(prefix):
                rel = path[len(prefix) : -len(_RECORD)]
                return Meaning("record", job=self.job_of(rel), rel=rel, stage=stage)
        return Meaning("own" if self._ours(path) else "foreign")

    def _ours(self, path: str) -> bool:
        ours = (self.results, self.receipts, self.status, self.logs, self.files, self.quarantine, self.models)
        return path.startswith((*ours, self.control))

    # -- limits

    @cached_property
    def _added(self) -> int:
        """The most bytes that a key which the engine writes about a job has beside the job's name."""
        job, revision = "j", "999999-00000000"
        own = [
            self.seen(job),
            self.status_of(job, _RECEIVED),
            self.result(job, f"r{revision}/{'f' * 48}"),
            self.receipt(job, f"{revision}.people"),
            self.roll(job, "t" * 16),
            self.log(job, "l" * 48),
            self.dead_letter(self.notify, f"{job}/{revision}.people"),
        ]
        return max(len(key.encode()) for key in own) - len(job)

    def why_job_unfit(self, job: str, limit: int, segment: int | None) -> str:
        """Why what the engine writes about a job cannot be stored; empty when it can. Limits as in `check`."""
        if any(part in ("", ".", "..") for part in job.split("/")):
            return f"The job {job[:60]!r} has an empty, `.` or `..` folder name."
        if _UNSAYABLE.search(job):
            return f"The job {job[:60]!r} has a control character in its name, or bytes that are not UTF-8."
        name = job.encode()
        if len(name) + self._added > limit:
            return f"The job {job[:60]!r}… makes keys of {len(name) + self._added} bytes; this store takes {limit}."
        *parts, last = name.split(b"/")
        widest = max(map(len, (*parts, last + _RECEIVED.encode())))
        if segment is not None and widest > segment:
            return f"The job {job[:60]!r}… makes names of {widest} bytes; this store takes {segment}."
        return ""

    def check(self, rel: str, stages: Iterable[str], limit: int, segment: int | None) -> None:
        """Raise `KeyUnusable` where an image's key, or one derived from it, cannot be stored.

        `limit` and `segment` are the store's, in bytes of UTF-8.
        """
        parts = rel.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise KeyUnusable(f"{rel!r} has an empty, `.` or `..` folder name.")
        if _UNSAYABLE.search(rel):
            raise KeyUnusable(f"{rel!r} holds a control character, or bytes that are not UTF-8.")
        unfit = self.why_job_unfit(self.job_of(rel), limit, segment)
        if unfit:
            raise KeyUnusable(unfit, remedy="Give the folders shorter names.")
        longest = max(
            (len(name) for name in (*self.records.values(), *(f"{self.failed}{s}/" for s in stages))), default=0
        )
        size = len(self.root.encode()) + max(longest, len(self.incoming)) + len(rel.encode()) + len(_RECORD)
        if size > limit:
            raise KeyUnusable(f"{rel[:60]!r}… makes keys of {size} bytes; this store takes {limit}.")
        if segment is not None:
            worst = max(len(part.encode()) for part in [*parts[:-1], parts[-1] + _RECORD])
            if worst > segment:
                raise KeyUnusable(
                    f"{rel[:60]!r}… has a name of {worst} bytes (with .json); this store takes {segment}."
                )


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, dot included; empty when it has none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def fetched_name(image_id: str, url: str) -> str:
    """The file name under which `fetch` stores a listed image: known from the manifest alone."""
    suffix = suffix_of(_path(url).rpartition("/")[2])
    known = suffix.lstrip(".") if suffix in IMAGE_SUFFIXES else "image"
    digest = short_hash("\n".join((image_id, url)), 8)
    return f"{slug(image_id)}-{digest}.{known}"


def slug(image_id: str) -> str:
    """A manifest's id as a file's name begins with it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", image_id).strip("-")[:60] or "image"


def _path(url: str) -> str:
    """The path of an address or key; empty where the address is none."""
    try:
        return urlsplit(url).path if "://" in url else url
    except ValueError:  # such as half an IPv6 address: `fetch` refuses it by its code
        return ""


def short_hash(text: str, digits: int) -> str:
    """The first hexadecimal digits of a text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
