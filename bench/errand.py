"""The part of a turn that a program beside this one does: what it is to do and how long that took, each in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peer import Measured, Work


@dataclass(frozen=True)
class Errand:
    """Images to take through both stages."""

    warm: list[str]  # first these, before the clock starts
    files: list[str]
    workers: int
    folder: str  # for `warm`'s results in `warm/` and `files`' in `results/`

    @classmethod
    def of(cls, work: Work) -> Errand:
        return cls(
            [str(path) for path in work.warm], [str(path) for path in work.files], work.workers, str(work.folder)
        )

    @classmethod
    def load(cls, path: str) -> Errand:
        return cls(**json.loads(Path(path).read_text()))

    def save(self) -> str:
        """Write it down. Returns where."""
        path = Path(self.folder, "errand.json")
        path.write_text(json.dumps(asdict(self)))
        return str(path)

    def done(self, seconds: float) -> None:
        """Say that it is done, and how long `files` took."""
        Path(self.folder, "seconds").write_text(str(seconds))

    def measured(self) -> Measured:
        """What was said. Raises `RuntimeError` where nothing was."""
        told = Path(self.folder, "seconds")
        if not told.exists():
            raise RuntimeError("the images were not all taken through")
        return Measured(len(self.files), float(told.read_text()))
