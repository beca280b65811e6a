"""What every peer is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

INSTALL = "pip install --constraint constraints.txt --editable '.[bench]'"


class NotRun(Exception):
    """A peer that this machine cannot run; the text is the reason."""


@dataclass(frozen=True)
class Work:
    """One peer's turn."""

    project: Path  # whose functions and models are run
    files: Sequence[Path]  # images that count
    warm: Sequence[Path]  # images that every peer has seen before the clock starts
    drawn: Sequence[bytes]  # the pictures that the files are made of
    workers: int
    folder: Path  # the peer's own, empty
    longest: float  # seconds after which the peer is given up


@dataclass(frozen=True)
class Measured:
    """What a turn came to."""

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Peer:
    """A way of running the functions."""

    name: str
    setup: str  # how it is run
    durable: str  # what of it survives
    measure: Callable[[Work], Measured]
    packages: Sequence[str] = ()  # Python packages that it is made of
    programs: dict[str, Callable[[], str]] = field(default_factory=dict)  # other programs, and what tells their version

    def versions(self) -> dict[str, str]:
        """Versions by name. Raises `NotRun` where something is not installed."""
        found = {}
        for package in self.packages:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                raise NotRun(f"{package} is not installed: {INSTALL}") from None
        return found | {name: version() for name, version in self.programs.items()}
