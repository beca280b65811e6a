"""`trapline models export`: a PyTorch checkpoint to an ONNX file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from trapline.cli import words
from trapline.cli.models_options import size_of
from trapline.errors import ConfigError, SurroundingsError
from trapline.models.exporting import export, read_checkpoint, snippet
from trapline.models.inspecting import inspect
from trapline.models.outputs import read_outputs, spelt

_HOLDS = {
    "ultralytics": "a network of Ultralytics' package",
    "yolov5": "a network of the YOLOv5 code",
    "module": "a whole network",
    "torchscript": "a TorchScript program",
    "weights": "weights alone",
}


def export_model(checkpoint: Path, out: Path, size: str | None, *, trust: bool, as_json: bool) -> None:
    """Say what the checkpoint holds, and export it where that is possible and allowed."""
    path, target = checkpoint.expanduser(), out.expanduser()
    sides = size_of(size) if size is not None else None
    found = read_checkpoint(path)
    notes = words.console(stderr=True)
    named = f" ({', '.join(found.classes[:3])})" if found.classes else ""
    words.say(notes, f"{path.name} holds {_HOLDS[found.holds]}{words.safe(named)}.")
    if found.holds == "weights":
        words.say(notes, "With the code that trained them:")
        for line in snippet(path, found, target, sides):
            words.say(notes, f"  {line}")
    elif found.holds != "yolov5" and not trust:
        raise ConfigError(
            f"Loading {path.name} runs code that is in it, or that it names, as you.",
            remedy="Add --trust if you know where it is from.",
        )
    _check_target(target)
    with contextlib.redirect_stdout(sys.stderr):  # exporters talk
        compared = export(path, found, target, sides)
    seen = inspect(target.read_bytes(), target.name, (sides[1], sides[0]) if sides else None)
    reading = read_outputs(seen.tried, seen.side, None)
    if as_json:
        words.emit({"file": str(target), "size": seen.size, "outputs": spelt(seen.tried), "compared": compared})
        return
    console = words.console()
    words.say(console, f"Wrote {target} ({words.size(seen.size)}, opset {seen.opset}): {compared}.")
    if reading is not None:
        words.say(console, f"It looks like a {reading.kind}: {reading.why}.")
    words.say(console, f"Next: trapline models add {target} --name …")


def _check_target(target: Path) -> None:
    if target.suffix != ".onnx":
        raise ConfigError(f"--out: {target} does not end in .onnx.", remedy="Write for example --out model.onnx.")
    if target.exists():
        raise ConfigError(f"--out: {target} is there already.", remedy="Remove it, or name another.")
    if not target.parent.is_dir():
        raise SurroundingsError(f"--out: there is no folder {target.parent}.", remedy="Make it first.")
