"""A model for a file that has no card yet, good enough to try: what the file says, and what is usual."""

from __future__ import annotations

import re
from pathlib import Path

from trapline.cli.words import plural
from trapline.errors import ConfigError
from trapline.models import Model, checked_card, sha256_of
from trapline.models.beside import from_folder, from_metadata
from trapline.models.inspecting import inspect
from trapline.models.proposing import Proposal, propose

_VERSION = "0.0.0"  # no model that somebody added has it
_LICENCE = "LicenseRef-unknown"


def guessed_model(path: Path) -> tuple[Model, str]:
    """The model in an ONNX file, and a line that says what was guessed. Raises `ConfigError` where that is too much."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--model: {path} cannot be read: {error.strerror}.", remedy="Name another file.") from None
    seen = inspect(data, path.name)
    beside = {**from_folder(path.parent, path.name), **from_metadata(seen.metadata)}
    made = propose(seen, path.name, {}, beside, None)
    unsaid = [question for question in made.questions if question.field not in ("labels", "licence")]
    if unsaid:
        raise ConfigError(
            f"--model: {path.name} has no card, and does not say all that one needs.",
            remedy=f"Give it one: `trapline models add {path}` with {', '.join(question.flag for question in unsaid)}.",
        )
    labelled = "labels" in made.card or made.card["kind"] == "embedder"
    if not labelled:
        made.put("labels", [f"class {number}" for number in range(made.labels or 1)], "unnamed")
    made.put("licence", _LICENCE, "unknown")
    return Model(checked_card(_fields(path, made, data), f"The card guessed for {path.name}"), data), _told(
        path, made, labelled
    )


def _fields(path: Path, made: Proposal, data: bytes) -> dict[str, object]:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:63].strip("-") or "model"
    own = {"name": name, "version": _VERSION, "file": "model.onnx", "sha256": sha256_of(data)}
    return Proposal({**made.card, **own}).nested()


def _told(path: Path, made: Proposal, labelled: bool) -> str:
    labels = "" if labelled else f", {plural(len(made.card['labels']), 'label')} without names"
    return (
        f"{path.name} has no card; one was guessed: {made.card['kind']}, head {made.card['head']}{labels}. "
        "`trapline models add` writes one."
    )
