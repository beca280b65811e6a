"""`trapline new function`: a function to change, beside those that a project has."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from trapline.cli import words
from trapline.cli.trying.plan import feeding
from trapline.errors import ConfigError
from trapline.pipeline.gathered import settings
from trapline.pipeline.load import Pipeline, load_pipeline
from trapline.pipeline.reading import did_you_mean
from trapline.template import NAME, function_kinds, make_function

_SHAPE = re.compile(r"[a-z](?:[a-z0-9_]{0,38}[a-z0-9])?")
# What every record holds already: a function's own part stands under the function's name.
_RECORD = frozenset(("image", "detections", "missing"))
# Names that the made files use themselves.
_CLASSES = frozenset(("Any", "Context", "Failure", "Image", "Item", "Iterator", "Member", "Path", "Pillow", "Protocol"))
_ACCEPTS = {"image": "image", "detections": "detections", "records": "records", "gather": "roll"}


def new_function(project: Path, name: str, kind: str, *, as_json: bool) -> None:
    """Make `functions/<name>/` and say what to put into pipeline.yaml. Raises `ConfigError`."""
    pipeline = load_pipeline(project)
    kinds = function_kinds()
    if kind not in kinds:
        raise ConfigError(
            f"--kind {kind!r} is not known.", remedy=f"It may be {', '.join(kinds)}.{did_you_mean(kind, kinds)}"
        )
    _check_name(pipeline, name)
    folder = pipeline.folder / "functions" / name
    made = make_function(folder, kind, name, class_name(name))
    stage, entry = _stage(pipeline, name, kind)
    if as_json:
        words.emit(
            {
                "function": name,
                "kind": kind,
                "folder": f"functions/{name}",
                "files": [str(path) for path in made],
                "stage": {stage: entry},
            }
        )
        return
    out = words.console()
    words.say(out, f"Made functions/{name}: {', '.join(str(path) for path in made)}")
    words.say(out, "It works as it is. Try it, and run its test:")
    words.say(out, f"  trapline try {name} {_example(pipeline.folder)}")
    words.say(out, f"  python -m pytest functions/{name}   # after: python -m pip install pytest")
    instead = f", in place of the stage {stage}" if stage in pipeline.stages else ""
    words.say(
        out, f"To have it in the pipeline, put this under `stages:` in pipeline.yaml{instead}{_out(pipeline, kind)}:"
    )
    words.say(out, f"  {stage}:")
    words.say(out, f"    {_flow(entry)}")


def class_name(name: str) -> str:
    """`body_length` → `BodyLength`; never a name that the made files use for something else."""
    made = "".join(part.capitalize() for part in name.split("_"))
    return f"{made}Function" if made in _CLASSES or keyword.iskeyword(made) else made


def _check_name(pipeline: Pipeline, name: str) -> None:
    if not _SHAPE.fullmatch(name):
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:40].strip("_")
        raise ConfigError(
            f"{name!r} cannot be the name of a function: it is a Python package too.",
            remedy="Write lower-case letters, digits and underscores, a letter first, at most 40"
            + (f", such as {better}." if _SHAPE.fullmatch(better) else ", such as body_length."),
        )
    why = _why_not(pipeline, name)
    if why:
        raise ConfigError(f"{name!r} cannot be the name of a function: {why}.", remedy="Choose another name.")


def _why_not(pipeline: Pipeline, name: str) -> str:
    """What the name is already; empty when it is free."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a word of Python's own"
    if name in sys.stdlib_module_names or name in ("functions", "triggers", "trapline", NAME):
        return f"there is a module {name} already"
    if (pipeline.folder / "functions" / name).exists():
        return f"there is functions/{name} already"
    if name in pipeline.stages:
        return f"pipeline.yaml has a stage {name} already"
    if name in _RECORD:
        return f"every record has a part {name} already"
    taken = {*pipeline.spec.prefixes.model_dump().values(), *(stage.spec.to for stage in pipeline.stages.values())}
    if any(f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/") for prefix in taken):
        return f"{name}/ in the bucket is used already"
    return ""


def _stage(pipeline: Pipeline, name: str, kind: str) -> tuple[str, dict[str, object]]:
    """The entry for pipeline.yaml: the stage's name, and what it says."""
    parents = feeding(pipeline, _ACCEPTS[kind])
    sources = [pipeline.stages[parent].spec.to for parent in parents] or [pipeline.spec.prefixes.incoming]
    source: object = sources[0] if len(sources) == 1 else sources
    if kind == "gather":
        gather = pipeline.of_kind("gather")
        entry = {"function": name, "from": source, "to": pipeline.spec.prefixes.results, "gather": "job"}
        return (gather.name if gather else name), entry
    return name, {"function": name, "from": source, "to": f"{name}/"}


def _out(pipeline: Pipeline, kind: str) -> str:
    """The settings that are for the function that gathers now, and which a new one does not know."""
    given = ", ".join(f"`{name}`" for name in settings(pipeline.spec)) if kind == "gather" else ""
    return f", and take out {given}" if given else ""


def _flow(entry: dict[str, object]) -> str:
    """The entry on one line of YAML."""
    said = (
        f"{key}: [{', '.join(value)}]" if isinstance(value, list) else f"{key}: {value}" for key, value in entry.items()
    )
    return "{" + ", ".join(said) + "}"


def _example(project: Path) -> str:
    """An image to try it on: one of the samples, where they are still there."""
    samples = sorted((project / "samples").rglob("*.JPG"))
    return samples[min(2, len(samples) - 1)].relative_to(project).as_posix() if samples else "FILE"
