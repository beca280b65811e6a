"""What a file is that is no ONNX file, by its first bytes: what people have at hand instead of one."""

from __future__ import annotations

from trapline.errors import ConfigError

_TORCH = "it is a PyTorch checkpoint"
_EXPORT = "Turn it into ONNX first: `trapline models export CHECKPOINT --out model.onnx`."
_OTHERS = (  # where, bytes there, what it is, what to do
    (0, b"PK\x03\x04", f"{_TORCH}, or another zip archive", _EXPORT),
    (0, b"\x80\x02\x8a\nl\xfc\x9cF", _TORCH, _EXPORT),
    (0, b"\x80\x02", "it is a Python pickle", _EXPORT),
    (0, b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes them", "Export the model with tf2onnx."),
    (4, b"TFL3", "it is a TensorFlow Lite file", "Export the model that it was made from to ONNX."),
    (8, b'{"', "it is a safetensors file: weights without a graph", "Export the model with its own library."),
    (0, b"version https://git-lfs", "it is a Git LFS pointer, not the file itself", "Run `git lfs pull` where it is."),
    (0, b"<!", "it is a web page", "Download the file itself, not the page about it."),
    (0, b"<html", "it is a web page", "Download the file itself, not the page about it."),
    (0, b"\x1f\x8b", "it is packed with gzip", "Unpack it first."),
)


def other_kind(data: bytes) -> tuple[str, str] | None:
    """What a file is instead of an ONNX file, and what to do; None where its first bytes do not say."""
    found = ((what, remedy) for place, mark, what, remedy in _OTHERS if data[place : place + len(mark)] == mark)
    return next(found, None)


def refuse_other(data: bytes, name: str) -> None:
    """Raise `ConfigError`, in one line that begins with `name`, where a file is empty or plainly something else."""
    if not data:
        raise ConfigError(f"{name} is empty (0 bytes).", remedy="Copy or download it again.")
    if (other := other_kind(data)) is not None:
        raise ConfigError(f"{name} is no ONNX file: {other[0]}.", remedy=other[1])
