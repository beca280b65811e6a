"""A model, loaded and checked against its card, and run. The card's fields are in `card`, the heads in `heads`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from trapline.errors import ConfigError
from trapline.images import RGB, Image, Pixels
from trapline.models.card import ModelCard, read_card, sha256_of
from trapline.models.heads import Detection, Floats, peaks, softmax
from trapline.models.inputs import sized, tensor

THREADS = "TRAPLINE_MODEL_THREADS"  # environment: threads within one run of a model; 1 unless set
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_CROPS = 64  # crops classified in one run


def check_model(card: ModelCard, model_bytes: bytes) -> None:
    """Refuse a file that is not what its card says: its hash, its input, its outputs against the labels."""
    _check_hash(card, model_bytes)
    _check_shape(card, _session(card, model_bytes, 1))


class Model:
    """A card and its file. `load` reads both from a folder; the session is made once, when it is first needed.

    A result never depends on what else is in the batch.
    """

    def __init__(self, card: ModelCard, model_bytes: bytes, *, threads: int | None = None) -> None:
        self.card = card
        _check_hash(card, model_bytes)
        self._bytes = model_bytes
        self._threads = threads
        self._session: ort.InferenceSession | None = None

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Model:
        """The model in `folder`: `model.yaml` and the file that it names."""
        card = read_card(folder / "model.yaml")
        file = folder / card.file
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{folder / 'model.yaml'}: file: {card.file} cannot be read ({error.strerror}).",
                remedy="Put the ONNX file beside the card, or correct its name.",
            ) from error
        return cls(card, content, threads=threads)

    def session(self) -> ort.InferenceSession:
        """The ONNX session, checked against the card. On the GPU where onnxruntime offers one."""
        if self._session is None:
            session = _session(self.card, self._bytes, self._threads or _threads())
            _check_shape(self.card, session)
            self._session = session
        return self._session

    def detect(self, images: Sequence[Image], *, threshold: float | None = None) -> list[list[Detection]]:
        """What is on each image, best first. `threshold` replaces the card's. Raises what a bad image raises."""
        least = self.card.threshold if threshold is None else threshold
        inputs = [sized(image, self.card.input, self.card.stride) for image in images]
        found: list[list[Detection]] = [[] for _ in images]
        for group in self._groups(inputs):
            maps = self._run([inputs[index].array for index in group])
            for place, index in enumerate(group):
                found[index] = self._read([part[place] for part in maps], images[index], inputs[index], least)
        return found

    def classify(self, arrays: Sequence[RGB], *, top_k: int | None = None) -> list[list[tuple[str, float]]]:
        """Per crop of the card's input size: labels and shares, best first, the `top_k` best where given."""
        rows: list[list[tuple[str, float]]] = []
        for start in range(0, len(arrays), _CROPS):
            (scores, *_) = self._run(arrays[start : start + _CROPS])
            shares = softmax(scores) if self.card.head == "logits" else scores
            rows += [self._ranked(row)[:top_k] for row in shares.reshape(len(scores), -1)]
        return rows

    def _groups(self, inputs: Sequence[Pixels]) -> list[list[int]]:
        """Which inputs run together: those of one size, and on a CPU each alone, which its caches reward."""
        most = 8 if _CUDA in self.session().get_providers() else 1
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, source in enumerate(inputs):
            by_size.setdefault(source.array.shape, []).append(index)
        return [same[start : start + most] for same in by_size.values() for start in range(0, len(same), most)]

    def _run(self, arrays: Sequence[RGB]) -> list[Floats]:
        names = ["heatmap", "size", "offset"] if self.card.head == "heatmap" else None
        outputs = self.session().run(names, {self.card.input.name: tensor(arrays, self.card.input)})
        return [np.asarray(output, np.float32) for output in outputs]

    def _read(self, maps: Sequence[Floats], image: Image, source: Pixels, least: float) -> list[Detection]:
        heat, size, offset = maps
        cell = (source.array.shape[1] / heat.shape[2], source.array.shape[0] / heat.shape[1])
        found = peaks(heat, size, offset, least, cell)
        boxes = found.boxes * np.array([source.scale_x, source.scale_y] * 2)
        boxes = np.clip(boxes, 0, [image.width, image.height] * 2)
        return [
            Detection((x1, y1, x2, y2), self.card.labels[label], float(score))
            for (x1, y1, x2, y2), label, score in zip(boxes.tolist(), found.labels, found.scores, strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _ranked(self, shares: Floats) -> list[tuple[str, float]]:
        return [(self.card.labels[index], float(shares[index])) for index in np.argsort(-shares, kind="stable")]


def _check_hash(card: ModelCard, model_bytes: bytes) -> None:
    found = sha256_of(model_bytes)
    if found != card.sha256:
        raise ConfigError(
            f"Model {card.name} {card.version}: {card.file} has sha256 {found[:12]}…, "
            f"its card says {card.sha256[:12]}….",
            remedy="Copy the file again; if it was meant to change, give the card a new version and this sha256.",
        )


def _threads() -> int:
    text = os.environ.get(THREADS, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{THREADS} is {text!r}.", remedy="Set it to a number of threads, 1 or more.")
    return int(text)


def _session(card: ModelCard, model_bytes: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Workers run one per core: a thread that spins while it waits takes its neighbour's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [name for name in (_CUDA, _CPU) if name in ort.get_available_providers()]
    try:
        return ort.InferenceSession(model_bytes, options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base that it promises
        raise ConfigError(
            f"Model {card.name} {card.version}: {card.file} cannot be loaded ({' '.join(str(error).split())[:160]}).",
            remedy="Export it as one ONNX file, weights inside.",
        ) from error


def _check_shape(card: ModelCard, session: ort.InferenceSession) -> None:
    name = f"Model {card.name} {card.version}"
    inputs = [put.name for put in session.get_inputs()]
    if inputs != [card.input.name]:
        raise ConfigError(
            f"{name}: the file's input is {', '.join(inputs)}, its card says {card.input.name}.",
            remedy="Correct input.name on the card; exactly one input is supported.",
        )
    outputs = {out.name: out.shape for out in session.get_outputs()}
    wanted = ["heatmap", "size", "offset"] if card.head == "heatmap" else []
    if missing := [want for want in wanted if want not in outputs]:
        raise ConfigError(
            f"{name}: the file has the outputs {', '.join(outputs)}; {', '.join(missing)} is missing.",
            remedy="Name the outputs heatmap, size and offset when exporting.",
        )
    _check_labels(card, name, outputs["heatmap"][1] if wanted else next(iter(outputs.values()))[-1])


def _check_labels(card: ModelCard, name: str, channels: object) -> None:
    if isinstance(channels, int) and channels != len(card.labels):
        raise ConfigError(
            f"{name}: the card has {len(card.labels)} labels, the file's output has {channels} channels.",
            remedy="Give one label per channel, in the channels' order.",
        )
