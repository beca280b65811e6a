"""What happens in one world, as data: drawn from a seed, kept as a file, made smaller when it fails."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

JOBS = ("st1/n1", "st1/n2", "st2/n1", "unsorted/unsorted")
NAMES = (
    "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg",
    "a.jpg (1).jpg", "a.jpg/b.jpg", "DCIM/100/a.jpg", "DCIM/100/é+ü %41.JPG",
)  # fmt: skip
WORDS = (
    "moth", "moth", "beetle", "beetle", "moths", "moth beetle", "nothing", "moth moth moth",
    "bad moth", "flaky moth", "raise", "poison", "hang", "",
)  # fmt: skip
LISTED = ("moth", "beetle", "moth_beetle", "nothing", "bad_moth", "absent", "flaky_moth")

Step = tuple[float, str, tuple[Any, ...]]  # (seconds before it, what, with what)


@dataclass(frozen=True)
class Life:
    """One engine's life, and what clients do meanwhile."""

    steps: tuple[Step, ...]
    end: str = "clean"  # `clean`; `time`: killed after the last step; `request`: killed at a request of its own
    kill_at: int = 0  # for `request`: the number of the request
    pause: float = 0.0  # seconds without an engine, before this one
    variant: int = 0  # of the pipeline: functions of another version
    rivals: int = 0  # engines more that are started on the same bucket meanwhile
    torn: int = 0  # objects that a power loss tore before this life

    def dump(self) -> str:
        """As it is kept in a file."""
        told = {key: value for key, value in _differing(self, Life(())).items() if key != "steps"}
        steps = ",\n".join(f"   {_json(step)}" for step in self.steps)
        return (
            "{"
            + "".join(f"{_json(key)}: {_json(value)}, " for key, value in told.items())
            + f'"steps": [\n{steps}\n  ]}}'
        )


@dataclass(frozen=True)
class Plan:
    """A whole world. The last life is the one in which everything calms down."""

    seed: int
    lives: tuple[Life, ...]
    store: float = 0.0  # share of the requests that fail, or whose answer is lost
    slow: float = 0.0  # share of the requests that take long
    workers: float = 0.0  # share of the tickets whose worker dies, hangs or is lost
    functions: float = 0.0  # share of the calls that fail for a reason of their own
    lost: float = 0.0  # share of the events that nobody gets
    late: float = 0.0  # share of the events that come minutes or hours late
    cursed: int = 0  # one key in so many is refused for good; 0: none
    curse: str = "denied"  # … how: `denied`, `unavailable`, `unusable`
    etags: str = "unique"  # or `content`
    times: str = "true"  # or `kept`, `forged`: what the objects' modification times are
    conditional: bool = True  # whether create-only writes hold
    zombies: bool = False  # workers that were given up go on, and survive their engine
    tracked: int = 1000
    keep: int = 20
    slots: int = 2
    jumps: tuple[float, ...] = ()  # seconds by which the wall clock jumps at each life
    mirrored: bool = False  # in the end the bucket is copied to another store
    shape: str = "chain"  # or `joined`: of the pipeline

    @property
    def prefixes(self) -> dict[str, str]:
        """Where each stage's records lie, parents first; the last one's are what is compiled."""
        chain = {"detect": "detections/", "classify": "classifications/"}
        return {**chain, "second": "seconds/", "beside": "besides/", "join": "joined/"} if self.joined else chain

    @property
    def joined(self) -> bool:
        return self.shape == "joined"

    @property
    def calm(self) -> bool:
        """Whether nothing but clients can make a task run twice."""
        one = len(self.lives) == 1 and not self.lives[0].rivals
        return one and not (self.store or self.workers or self.functions or self.cursed or self.slow)

    def dump(self) -> str:
        """As it is kept in a file: what differs from an empty world, a step a line."""
        told = _differing(self, Plan(0, ()))
        told.pop("lives", None)
        head = [f" {_json(key)}: {_json(value)}," for key, value in told.items()]
        lives = ",\n".join(f"  {life.dump()}" for life in self.lives)
        return "\n".join(["{", *head, f' "lives": [\n{lives}\n ]', "}"])


def _differing(what: Any, usual: Any) -> dict[str, Any]:
    """The fields in which something differs from the usual."""
    return {key: value for key, value in vars(what).items() if value != getattr(usual, key)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def load(path: Path) -> Plan:
    """A plan that was kept."""
    raw = {"seed": 0, **json.loads(path.read_text())}
    lives = tuple(
        Life(**{**life, "steps": tuple((at, what, tuple(given)) for at, what, given in life["steps"])})
        for life in raw.pop("lives")
    )
    return Plan(**{**raw, "jumps": tuple(raw.get("jumps", ()))}, lives=lives)


class Luck:
    """Chance by name: the same question gets the same answer, whatever else is asked. So a plan can shrink."""

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(8, "big", signed=True)
        self._asked: dict[tuple[str, ...], int] = {}

    def draw(self, *about: str) -> float:
        """A number in [0, 1) for the n-th time this is asked."""
        n = self._asked[about] = self._asked.get(about, -1) + 1
        text = "\x1f".join((*about, str(n))).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=7, key=self._seed).digest(), "big") / 2**56


@dataclass
class _Draw:
    """Draws one plan."""

    rng: Random
    kinds: dict[str, float] = field(default_factory=dict)  # what clients do → how often

    def plan(self, seed: int) -> Plan:
        rng = self.rng
        self.kinds = self._kinds()
        troubled = rng.random() < 0.8
        rates = (0.0, 0.02, 0.1, 0.25) if troubled else (0.0,)
        lives = [self._life(n > 0, troubled) for n in range(rng.choice((0, 0, 1, 1, 2, 3)) if troubled else 0)]
        lives.append(replace(self._life(bool(lives), troubled), end="clean", rivals=0))
        return Plan(
            seed,
            tuple(lives),
            store=rng.choice(rates),
            slow=rng.choice((0.0, 0.0, 0.1)) if troubled else 0.0,
            workers=rng.choice(rates),
            functions=rng.choice((0.0, 0.0, 0.1, 0.3)) if troubled else 0.0,
            lost=rng.choice((0.0, 0.1, 0.5, 1.0)),
            late=rng.choice((0.0, 0.2, 0.5)),
            etags=rng.choice(("unique", "unique", "content")),
            times=rng.choice(("true", "kept", "forged")),
            conditional=rng.random() < 0.5,
            zombies=rng.random() < 0.3,
            tracked=rng.choice((1000, 1000, 2)),
            keep=rng.choice((20, 20, 2)),
            slots=rng.randint(1, 4),
            jumps=tuple(rng.choice((0.0, -86400.0, 3600.0)) for _ in lives) if rng.random() < 0.3 else (),
            mirrored=rng.random() < 0.25,
            cursed=rng.choice((0, 0, 0, 30, 100)) if troubled else 0,
            curse=rng.choice(("denied", "unavailable", "unusable")),
            shape=rng.choice(("chain", "chain", "joined")),  # drawn last: what was drawn before stays as it was
        )

    def _kinds(self) -> dict[str, float]:
        """Each world has a taste of its own: some things often, some never."""
        usual = {"image": 12.0, "done": 2.0, "cancel": 1.0, "resume": 1.0, "exhume": 1.5, "event": 0.7}
        rare = {
            "manifest": 2.0,
            "unimage": 1.0,
            "promote": 0.7,
            "undone": 0.4,
            "request": 0.5,
            "again": 0.8,
            "junk": 0.4,
        }
        chosen = {what: often for what, often in rare.items() if self.rng.random() < 0.4}
        return {**usual, **chosen}

    def _life(self, later: bool, troubled: bool) -> Life:
        rng = self.rng
        end = rng.choice(("clean", "time", "request", "request"))
        return Life(
            steps=tuple(self._step() for _ in range(rng.randint(1, 20))),
            end=end,
            kill_at=int(2 ** (rng.random() * 9)) if end == "request" else 0,
            pause=rng.choice((0.0, 1.0, 10800.0)) if later else 0.0,
            variant=rng.choice((0, 0, 0, 1)),
            rivals=rng.choice((0, 0, 0, 0, 0, 1)) if troubled else 0,
            torn=rng.choice((0, 0, 0, 0, 2)) if later else 0,
        )

    def _step(self) -> Step:
        rng = self.rng
        what = rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        return rng.choice((0.0, 0.0, 0.01, 0.3, 2.0, 10.0, 30.0)), what, self._given(what)

    def _given(self, what: str) -> tuple[Any, ...]:
        rng = self.rng
        job = rng.choice(JOBS[:3] if rng.random() < 0.95 else JOBS)
        if what == "image":
            words = rng.choice(WORDS if rng.random() < 0.5 else WORDS[:8])
            names = NAMES if rng.random() < 0.4 and job in JOBS[:3] else NAMES[:6]
            return job, rng.choice(names), words
        if what == "done":
            return job, rng.choice(("empty", "empty", "count", "more", "sums", "garbage"))
        if what == "manifest":
            return rng.choice(JOBS[:3]), self._manifest()
        if what in ("exhume", "event", "again"):
            return (round(rng.random(), 6),)
        if what == "unimage":
            return job, rng.choice(NAMES[:6])
        if what == "promote":
            return (rng.randint(1, 4),)
        if what == "request":
            return job, rng.choice(("sweep", "retry", "reprocess"))
        if what == "junk":
            return job, rng.choice(("notes.txt", ".hidden", "Thumbs.db", "deep//a.jpg", "x" * 1010 + ".jpg"))
        return (job,)

    def _manifest(self) -> dict[str, Any]:
        rng = self.rng
        ids = rng.sample(range(8), rng.randint(1, 5))
        made: dict[str, Any] = {"images": [[f"i{n}", f"{LISTED[n % len(LISTED)]}"] for n in ids]}
        if rng.random() < 0.3:
            made["own"] = rng.sample(NAMES[:6], rng.randint(1, 2))
        if rng.random() < 0.3:
            made["mark"] = rng.choice(("plain", "bold"))
        if rng.random() < 0.2:
            made["deadline"] = rng.choice((1, 20, 300))
        if rng.random() < 0.4:
            made["priority"] = rng.choice((-1, 0, 5))
        if rng.random() < 0.4:
            made["token"] = f"token-{rng.randint(0, 2)}"
        if rng.random() < 0.1:
            made["wrong"] = True
        return made


def draw(seed: int) -> Plan:
    """The world that a seed stands for."""
    return _with_reviews(_Draw(Random(seed)).plan(seed), Random(f"reviews of {seed}"))


def _with_reviews(plan: Plan, rng: Random) -> Plan:
    """People look at the results in some worlds, and change their minds."""
    if rng.random() < 0.7:
        return plan
    return replace(plan, lives=tuple(replace(life, steps=_between(life.steps, rng)) for life in plan.lives))


def _between(steps: tuple[Step, ...], rng: Random) -> tuple[Step, ...]:
    mixed = list(steps)
    for _ in range(rng.randint(0, 3)):
        given = (rng.choice(JOBS), rng.choice(("all moths", "all beetles", "")))
        pause = rng.choice((0.0, 2.0, 30.0, 120.0))
        mixed.insert(rng.randint(0, len(mixed)), (pause, "review", given))
    return tuple(mixed)
