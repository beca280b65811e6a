"""Trying a model on one image before it is added."""

from __future__ import annotations

import io
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from trapline.cli import words
from trapline.errors import ConfigError, Failure
from trapline.images import Image
from trapline.keys import IMAGE_SUFFIXES, suffix_of
from trapline.models import Model

_BEST = 3  # labels that are told
_LEAST = 0.05  # confidence that is tried where nothing is found


@dataclass(frozen=True)
class Tried:
    """What came out of one image."""

    sample: str
    kind: str
    ms: float  # of one image, the session being loaded; one thread
    found: int  # detections; 1 for others
    best: list[tuple[str, float]]  # labels and scores, best first
    dimensions: int | None  # of an embedding
    hint: str

    def worded(self) -> str:
        """For people."""
        named = ", ".join(f"{words.safe(label)} {score:.2f}" for label, score in self.best)
        took = f"{self.ms:.0f} ms" if self.ms >= 10 else f"{self.ms:.1f} ms"
        if self.kind == "detector":
            return f"{words.plural(self.found, 'detection')}{f' ({named})' if named else ''} in {took}"
        if self.kind == "classifier":
            return f"{named} in {took}"
        return f"a vector of {self.dimensions} numbers in {took}"

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        best = [{"label": label, "score": round(score, 4)} for label, score in self.best]
        made: dict[str, Any] = {"sample": self.sample, "ms": round(self.ms, 2), "best": best}
        if self.kind == "detector":
            made["detections"] = self.found
        if self.dimensions is not None:
            made["dimensions"] = self.dimensions
        return made


def sample_for(project: Path, chosen: Path | None) -> tuple[str, bytes]:
    """An image to try a model on: the chosen one, one of the project's samples, or one that is drawn."""
    if chosen is not None:
        try:
            return str(chosen), chosen.expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(f"--sample: {chosen}: {error.strerror}.", remedy="Name an image.") from None
    for folder in (project / "samples", project / "local_dev" / "samples"):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if suffix_of(path.name) in IMAGE_SUFFIXES and path.is_file():
                return str(path.relative_to(project)), path.read_bytes()
    return "a drawn image", _drawn()


def try_model(model: Model, sample: str, data: bytes) -> Tried:
    """Run a model on one image, twice; the second is timed. Raises `ConfigError` where it cannot run."""
    model.session()
    try:
        _run(model, Image(data))
        began = time.perf_counter()
        found, best, dimensions = _run(model, Image(data))
        ms = (time.perf_counter() - began) * 1000
    except Failure as failure:
        raise ConfigError(f"The sample {sample} cannot be read: {failure.message}", remedy="Name another.") from None
    except ConfigError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base, and a wrong card has many ways to fail
        line = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"With this card the model fails on {sample} ({type(error).__name__}: {line}).",
            remedy="Correct the head, the size or the labels; --dry-run shows the card and adds nothing.",
        ) from error
    kind = model.card.kind
    hint = _hint(model, Image(data)) if kind == "detector" and not found else ""
    return Tried(sample, kind, ms, found, best, dimensions, hint)


def _hint(model: Model, image: Image) -> str:
    """What would be found with less confidence."""
    least = min(_LEAST, model.card.threshold)
    (faint,) = model.detect([image], threshold=least)
    told = f"at {least:g} there would be {words.plural(len(faint), 'detection')}"
    best = f", the best {words.safe(faint[0].label)} {faint[0].confidence:.2f}" if faint else ""
    return f"Nothing reached the threshold {model.card.threshold:g}; {told}{best}. Try an image of yours with --sample."


def _run(model: Model, image: Image) -> tuple[int, list[tuple[str, float]], int | None]:
    if model.card.kind == "detector":
        (found,) = model.detect([image])
        best: dict[str, float] = {}
        for detection in found:
            best.setdefault(detection.label, detection.confidence)
        counted = Counter(detection.label for detection in found)
        top = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))[:_BEST]
        return sum(counted.values()), top, None
    whole = (0.0, 0.0, float(image.width), float(image.height))
    half = (0.0, 0.0, image.width / 2, image.height / 2)
    crops = model.crops(image, [whole, half])  # two: a stage classifies many at once
    if model.card.kind == "classifier":
        return 1, model.classify(crops, top_k=_BEST)[0], None
    return 1, [], int(np.asarray(model.embed(crops)).shape[1])


def _drawn() -> bytes:
    """Dark ovals on a pale sheet: nothing anybody trained for, but a picture."""
    picture = Pillow.new("RGB", (1200, 900), (214, 208, 190))
    draw = ImageDraw.Draw(picture)
    random = np.random.default_rng(7)
    for x, y, long in zip(
        random.integers(50, 1050, 12), random.integers(50, 800, 12), random.integers(20, 90, 12), strict=True
    ):
        draw.ellipse((int(x), int(y), int(x + long), int(y + long // 2)), fill=(70, 60, 50))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()
