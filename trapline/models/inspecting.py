"""What an ONNX file takes and gives, by loading it and running it once on nothing. No card is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from trapline.errors import ConfigError
from trapline.models.checking import opened
from trapline.models.file_kinds import refuse_other
from trapline.models.onnx_file import OnnxFile, read_onnx

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_SIDE = 640  # pixels along a side that the file leaves open, when it is tried
_BATCH = 2
_MOST_PIXELS = 2**26  # in one run; 64 pictures of 1024 x 1024
_MOST_NUMBERS = 2**27  # of one output
_STRANGE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True)
class Port:
    """An input or output."""

    name: str
    shape: tuple[int | None, ...]  # None: any length
    dtype: str  # float32, float16, uint8, or as onnxruntime names it


@dataclass(frozen=True)
class Inspected:
    """A graph that loads and runs."""

    size: int  # bytes
    opset: int  # version of ONNX's own operators; 0 where it names none
    producer: str  # the program that wrote it
    source: Port  # its one input
    layout: str  # nchw | nhwc
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]  # what the exporter wrote beside the graph
    tried: Mapping[str, NDArray[np.float64]]  # output's name → what came out of noise, batch first
    side: tuple[int, int]  # height, width that it was tried with, pixels

    @property
    def batch(self) -> int | None:
        """The number of pictures in a run; None: any."""
        return self.source.shape[0]

    @property
    def height(self) -> int | None:
        """Pixels; None: any."""
        return self.source.shape[2 if self.layout == "nchw" else 1]

    @property
    def width(self) -> int | None:
        """Pixels; None: any."""
        return self.source.shape[3 if self.layout == "nchw" else 2]


def inspect(data: bytes, name: str, side: tuple[int, int] | None = None, layout: str = "nchw") -> Inspected:
    """Load and try an ONNX file. `side`: height and width, and `layout`, for a graph that leaves them open.

    Raises `ConfigError`, in one line that begins with `name`, where it cannot be used.
    """
    opset = _frame(data, name).opsets.get("", 0)
    session = _session(data, name)
    ports = [Port(put.name, _shape(put.shape), _DTYPES.get(put.type, put.type)) for put in session.get_inputs()]
    source = _only(ports, name)
    layout = _layout(source, layout, name)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    outputs = tuple(Port(put.name, _shape(put.shape), _DTYPES.get(put.type, put.type)) for put in session.get_outputs())
    at = 2 if layout == "nchw" else 1
    height, width = (source.shape[at + n] or (side or _told_side(metadata))[n] for n in range(2))
    if (source.shape[0] or _BATCH) * height * width > _MOST_PIXELS:
        raise ConfigError(
            f"{name} takes {source.name} {_spelt(source.shape)}: {source.shape[0] or _BATCH} pictures of {width} x "
            f"{height} at once are more than memory has room for.",
            remedy="Export it for smaller pictures, or for one at a time.",
        )
    tried = _try(session, source, layout, (height, width), name)
    producer = session.get_modelmeta().producer_name
    return Inspected(len(data), opset, producer, source, layout, outputs, metadata, tried, (height, width))


def _session(data: bytes, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return opened(data, options, ["CPUExecutionProvider"], name="Model", file=name)


def _frame(data: bytes, name: str) -> OnnxFile:
    refuse_other(data, name)
    try:
        return read_onnx(data)
    except ValueError:
        raise ConfigError(
            f"{name} is no ONNX file, or is cut off: its {len(data):,} bytes are not a whole ONNX graph.",
            remedy="Copy or download it again, and compare its size.",
        ) from None


def _shape(shape: list[object]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape)


def _only(ports: list[Port], name: str) -> Port:
    if len(ports) != 1:
        given = ", ".join(f"{port.name} {_spelt(port.shape)}" for port in ports) or "none"
        raise ConfigError(
            f"{name} takes {len(ports)} inputs ({given}); a model here takes one, the pictures.",
            remedy="Export the network alone, without its post-processing (for RT-DETR: without orig_target_sizes).",
        )
    (port,) = ports
    if port.dtype not in _DTYPES.values():
        raise ConfigError(
            f"{name} takes {port.dtype}; a model here takes float32, float16 or uint8.",
            remedy="Export it for one of these.",
        )
    return port


def _layout(source: Port, free: str, name: str) -> str:
    shape = source.shape
    if len(shape) == 4 and shape[1] == 3:
        return "nchw"
    if len(shape) == 4 and shape[3] == 3:
        return "nhwc"
    if len(shape) == 4 and shape[1] is None and shape[3] is None:
        return free
    raise ConfigError(
        f"{name} takes {source.name} {_spelt(shape)}; expected pictures in three colours, [n, 3, height, width] or "
        "[n, height, width, 3].",
        remedy="Export it for colour pictures.",
    )


def _told_side(metadata: Mapping[str, str]) -> tuple[int, int]:
    """Height and width that the exporter wrote down, else some."""
    sides = [int(side) for side in re.findall(r"\d+", metadata.get("imgsz", ""))][:2]
    return (sides[0], sides[-1]) if sides and min(sides) >= 16 and max(sides) <= 8192 else (_SIDE, _SIDE)


def _try(
    session: ort.InferenceSession, source: Port, layout: str, side: tuple[int, int], name: str
) -> dict[str, NDArray[np.float64]]:
    """What comes out of made-up pictures: the outputs' true shapes, and whether it runs at all.

    A network that gives one row for a picture is run on several: whether they are shares is seen by their range.
    """
    shape = (3, *side) if layout == "nchw" else (*side, 3)
    count = source.shape[0]
    tried = _run(session, source, _repeated(next(_made_up(shape)), count or _BATCH), name)
    if all(out.ndim == 2 or out[0].size == max(out.shape[1:], default=0) for out in tried.values()):
        more = [_run(session, source, _repeated(picture, count or 1), name) for picture in _made_up(shape)]
        tried = {put: np.concatenate([out, *(one[put] for one in more)]) for put, out in tried.items()}
    wrong = next((put for put, out in tried.items() if not np.isfinite(out).all()), None)
    if wrong is not None:
        raise ConfigError(
            f"{name} gives what is no number (NaN or infinite) in {wrong}, fed with noise.",
            remedy="Export it in float32, and check it with the library that it comes from.",
        )
    return tried


def _made_up(shape: tuple[int, ...]) -> Iterator[NDArray[np.float64]]:
    """Pictures of noise, and flat ones, from 0 to 1 and beyond."""
    random = np.random.default_rng(7)
    yield random.random(shape)
    yield random.normal(0, 2, shape)
    yield np.zeros(shape)
    yield np.ones(shape)
    for _ in range(4):
        yield np.broadcast_to(random.random(3).reshape((3, 1, 1) if shape[0] == 3 else 3), shape)


def _repeated(picture: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return np.broadcast_to(picture, (count, *picture.shape))


def _run(
    session: ort.InferenceSession, source: Port, pictures: NDArray[np.float64], name: str
) -> dict[str, NDArray[np.float64]]:
    fed = (np.clip(pictures, 0, 1) * 255).astype(np.uint8) if source.dtype == "uint8" else pictures.astype(source.dtype)
    try:
        outputs = session.run(None, {source.name: fed})
    except Exception as error:  # onnxruntime's own exceptions share no base that it promises
        raise ConfigError(
            f"{name} fails when it is run on {len(fed)} pictures, {list(fed.shape)} ({_one_line(str(error))}).",
            remedy="Name the size that it was made for with --size WIDTHxHEIGHT, or export it anew.",
        ) from error
    names = [port.name for port in session.get_outputs()]
    for put, out in zip(names, outputs, strict=True):
        if _numbers(out) and out.size > _MOST_NUMBERS:
            raise ConfigError(
                f"{name} gives {out.size:,} numbers in {put} for {len(fed)} pictures, {list(out.shape)}; "
                "no head reads so many.",
                remedy="Export the network alone, with the output that its boxes, labels or features are in.",
            )
    return {put: np.asarray(out, np.float64) for put, out in zip(names, outputs, strict=True) if _numbers(out)}


def _numbers(output: object) -> bool:
    return isinstance(output, np.ndarray) and output.dtype.kind in "fiu"


def _spelt(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('any' if side is None else str(side) for side in shape)}]"


def _one_line(said: str) -> str:
    return _STRANGE.sub(" ", " ".join(said.split()))[:160]
