"""Fuzzing of everything that reads what strangers write: only declared errors may come out, in bounded time and memory.

`python -m tests.hostile.fuzz --seconds 600 --seed 1 --what images` keeps the input that fails, names it, and exits 1.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import corpus, manifests
from trapline.errors import ConfigError, EventUnknown, EventUnreadable, ManifestError, Permanent, TraplineError
from trapline.events import dialects
from trapline.images import Image
from trapline.models import read_card
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.reading import read_settings
from trapline.pipeline.spec import FunctionSpec, PipelineSpec
from trapline.records import DeadLetter, ImageRecord, JobControl, Request, SchemaNewer, Summary, load, read_manifest
from trapline.sweep import read_done

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10.0  # for one input
MEMORY = 1200 * 2**20  # bytes that the process may grow by over a run
PIXELS = 4_000_000  # so that no input is slow for being large


@dataclass(frozen=True)
class Target:
    """Something that reads strangers' bytes, what it is begun with, and what it may raise."""

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    declared: tuple[type[Exception], ...]
    words: Sequence[bytes] = ()  # put in here and there


class Failed(AssertionError):
    """An input that broke a promise."""

    def __init__(self, what: str, data: bytes, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.data = what, data


def run(what: str, seconds: float, seed: int, most: int | None = None) -> int:
    """Feed a target for so long, or with so many inputs; how many it was. Raises `Failed`."""
    target, chance = TARGETS[what], random.Random(f"{what} {seed}")
    end, count, before = time.monotonic() + seconds, 0, _peak()
    for data in _inputs(target, chance):
        if time.monotonic() >= end or (most is not None and count >= most):
            break
        count += 1
        try_one(what, data)
        if _peak() - before > MEMORY:
            raise Failed(what, data, f"memory grew by {_peak() - before} bytes")
    return count


def try_one(what: str, data: bytes) -> None:
    """One input. Raises `Failed`."""
    target, begun = TARGETS[what], time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data)
    except target.declared as error:
        if isinstance(error, TraplineError) and not str(error).isprintable():
            raise Failed(what, data, f"an error is not one line: {str(error)!r}") from error
    except Exception as error:
        raise Failed(what, data, "".join(traceback.format_exception(error))) from error
    if time.process_time() - begun > SECONDS:
        raise Failed(what, data, f"it took {time.process_time() - begun:.1f} s of the processor")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- inputs


def _inputs(target: Target, chance: random.Random) -> Iterator[bytes]:
    """First the seeds as they are, then what becomes of them."""
    seeds = sorted(target.seeds(), key=len)
    yield from seeds
    while True:
        data = seeds[min(int(chance.expovariate(3) * len(seeds)), len(seeds) - 1)]  # small ones more often
        for _ in range(chance.randint(1, 6)):
            data = chance.choice(CHANGES)(data, seeds, target.words, chance)
        yield data


Change = Callable[[bytes, Sequence[bytes], Sequence[bytes], random.Random], bytes]


def _place(data: bytes, chance: random.Random) -> int:
    """Somewhere; headers more often."""
    return chance.randrange(min(len(data), 600) + 1 if chance.random() < 0.7 else len(data) + 1)


def _flip(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        changed[min(_place(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _number(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    text = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff", b"\0\0", b"\x80", b"\0"))
    return data[:at] + text + data[at + len(text) :]


def _cut(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _remove(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randint(1, 64) :]


def _repeat(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    at, length = _place(data, chance), chance.choice((1, 4, 12, 64, 500))
    return data[:at] + data[at : at + length] * chance.choice((2, 3, 50)) + data[at:]


def _splice(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(seeds)
    return data[: _place(data, chance)] + other[_place(other, chance) :][:200_000]


def _word(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + (chance.choice(words) if words else chance.randbytes(4)) + data[at:]


CHANGES: tuple[Change, ...] = (_flip, _number, _cut, _remove, _repeat, _splice, _word)


# -- what is fed


def _images() -> list[bytes]:
    return [file.data for file in corpus.corpus() if 0 < len(file.data) < 200_000]


def _read_image(data: bytes) -> None:
    image = Image(data, max_pixels=PIXELS)
    image.pixels(max_side=60)
    assert image.full().shape == (image.height, image.width, 3)
    assert image.captured_at is None or "T" in image.captured_at


def _manifests() -> list[bytes]:
    refused = [body for several in manifests.REFUSED.values() for body, _ in several.values() if len(body) < 5000]
    whole = manifests.manifest(
        projectId="ecos",
        priority=3,
        deadline="PT6H",
        deployment={"latitude": 55.6},
        pipelineConfig={"stages": [{"stage": "CLASSIFICATION", "parameters": {"top_k": 3}}]},
        callback={"callbackUrl": "https://example.org/", "callbackToken": "x"},
    )
    return [whole, whole.decode().encode("utf-16"), *refused]


def _read_manifest(data: bytes) -> None:
    read = read_manifest(data, "jobs/a/b.json")
    assert json.loads(read.model_dump_json())["sourceImages"]


def _records() -> list[bytes]:
    source = {"key": "incoming/a/b/c.jpg", "etag": "1", "size": 3, "sha256": "0" * 64}
    made = {"function": "detect", "version": "1", "model": {"name": "m", "version": "1", "sha256": "2"}}
    record = {
        "stage": "detect",
        "source": source,
        "recipe": "r",
        "produced_by": made,
        "known": {"detections": [{"id": 1}]},
    }
    letter = {
        "stage": "detect",
        "job": "a/b",
        "source": source,
        "code": "timeout",
        "message": "x",
        "at": "2026-11-20T22:00:00Z",
    }
    request = {"action": "retry", "job": "a/b"}
    summary = {
        "job": "a/b",
        "state": "FAILED",
        "final": True,
        "revision": "r1-0",
        "folder": "x",
        "last_final": {"N": 1, "seal": "s"},
    }
    return [json.dumps(one).encode() for one in (record, letter, request, summary, {"job": "a/b", "schema": 2})]


def _read_record(data: bytes) -> None:
    for kind in (ImageRecord, DeadLetter, Request, Summary, JobControl):
        load(kind, data)


def _done() -> list[bytes]:
    line = b"0" * 64 + b"  DCIM/a.jpg\n"
    return [b"", b"12\n", line * 3, b"\\" + line, line.decode().encode("utf-16"), b"\xef\xbb\xbf7", "٣".encode()]


def _read_done(data: bytes) -> None:
    mark = read_done("etag", data, "st7/n1/")
    assert mark.problem == "" or len(mark.problem) < 600


def _events() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "tests" / "events").glob("*.json"))]


def _config() -> list[bytes]:
    return [
        path.read_bytes()
        for path in (ROOT / "pipeline.yaml", *sorted(ROOT.glob("functions/*/function.yaml")), *_cards())
    ]


def _cards() -> list[Path]:
    return sorted(ROOT.glob("functions/*/model/model.yaml"))


def _read_config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_bytes(data)
        for read in (
            lambda: load_pipeline(Path(folder)),
            lambda: read_settings(PipelineSpec, path, "pipeline.yaml"),
            lambda: read_settings(FunctionSpec, path, "function.yaml"),
            lambda: read_card(data),
        ):
            try:
                read()
            except ConfigError as error:
                assert error.remedy and len(str(error)) < 2000 + len(folder)


_JSON_WORDS = (
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b"9" * 400,
    b"\xff",
)
_YAML_WORDS = (
    *(b"&a ", b"*a ", b"<<: *a\n", b"!!python/object:os.system ", b"!!int ", b"!!bool ", b"!!timestamp ", b"!!binary "),
    *(
        b"[",
        b"{",
        b"? ",
        b"\t",
        b"|\n",
        b"null",
        b"~",
        b".inf",
        b".nan",
        b"2001-01-01",
        b"0o7",
        b"1:30",
        b"%YAML 9\n---\n",
    ),
)
_IMAGE_WORDS = (
    b"\xff\xd8\xff",
    b"\xff\xda",
    b"\xff\xc0",
    b"\xff\xc2",
    b"IDAT",
    b"acTL",
    b"VP8X",
    b"Exif\0\0",
    b"II*\0",
    b"MM\0*",
)

TARGETS: dict[str, Target] = {
    "images": Target(_images, _read_image, (Permanent,), _IMAGE_WORDS),
    "manifests": Target(_manifests, _read_manifest, (ManifestError,), _JSON_WORDS),
    "records": Target(_records, _read_record, (SchemaNewer,), _JSON_WORDS),
    "done": Target(_done, _read_done, (), (b"\n", b"  ", b"\\n", b"\0", b"\xff\xfe")),
    "events": Target(_events, dialects.read, (EventUnknown, EventUnreadable), _JSON_WORDS),
    "config": Target(_config, _read_config, (), _YAML_WORDS),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    add = parser.add_argument
    add("--seconds", metavar="N", type=float, default=60.0, help="how long, for everything (default: %(default)g)")
    add("--seed", metavar="N", type=int, default=0, help="what the inputs are drawn from (default: %(default)s)")
    add("--what", choices=(*TARGETS, "all"), default="all", help="what to feed (default: %(default)s)")
    kept = "where to put an input that fails (default: %(default)s)"
    add("--keep", metavar="FOLDER", type=Path, default=Path(), help=kept)
    add("--input", metavar="FILE", type=Path, help="feed this file alone")
    chosen = parser.parse_args(arguments)
    names = list(TARGETS) if chosen.what == "all" else [chosen.what]
    try:
        for name in names:
            if chosen.input:
                try_one(name, chosen.input.read_bytes())
            else:
                print(f"{name}: {run(name, chosen.seconds / len(names), chosen.seed)} inputs")
    except Failed as failed:
        path = chosen.keep / f"fuzz-{failed.what}-{chosen.seed}.bin"
        path.write_bytes(failed.data)
        print(f"{failed}\nThe input is {path}; feed it again with --what {failed.what} --input {path}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
