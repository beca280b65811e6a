"""A model, loaded and checked against its card, and run. The card's fields are in `card`, the heads in `heads`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from trapline.errors import ConfigError
from trapline.images import RGB, Box, Image
from trapline.models import tiles
from trapline.models.boxes import Boxes, Floats
from trapline.models.card import ModelCard, Tiles, read_card
from trapline.models.checking import (
    check_hash,
    check_session,
    check_shares,
    check_unit,
    labels_error,
    not_finite_error,
    opened,
    output_names,
)
from trapline.models.forms import Form
from trapline.models.heads import DETECTORS, Ask, Detection, Outputs, Peaks, sigmoid, softmax, unit_length
from trapline.models.inputs import Fed, crops, sized, sized_part, tensor

THREADS = "TRAPLINE_MODEL_THREADS"  # environment: threads within one run of a model; 1 unless set
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_CROPS = 64  # crops classified in one run
_TOGETHER = 8  # pictures or tiles in one run on a GPU


def check_model(card: ModelCard, model_bytes: bytes) -> None:
    """Refuse a file that is not what its card says: its hash, its input, its outputs against the labels."""
    check_hash(card, model_bytes)
    check_session(card, _session(card, model_bytes, 1))


class Model:
    """A card and its file. `load` reads both from a folder; the session is made once, when it is first needed.

    A result never depends on what else is in the batch.
    """

    def __init__(self, card: ModelCard, model_bytes: bytes, *, threads: int | None = None) -> None:
        self.card = card
        check_hash(card, model_bytes)
        self._bytes = model_bytes
        self._threads = threads
        self._session: ort.InferenceSession | None = None
        self._names: dict[str, str] = {}  # role to the output's name in the file
        self._batch: int | None = None  # how many pictures the file takes at once; none: any number

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
            form: Form = check_session(self.card, session)
            self._names = output_names(self.card, form, [out.name for out in session.get_outputs()])
            first = session.get_inputs()[0].shape[0]
            self._batch = first if isinstance(first, int) and first > 0 else None
            self._session = session
        return self._session

    def detect(self, images: Sequence[Image], *, threshold: float | None = None) -> list[list[Detection]]:
        """What is on each image, best first: in tiles where the card says so, else each image whole.

        `threshold` replaces the card's. Raises what a bad image raises.
        """
        least = self.card.threshold if threshold is None else threshold
        if self.card.tiles is not None:
            return [self._detect_tiled(image, self.card.tiles, least) for image in images]
        found = self._look([sized(image, self.card.input, self.card.stride) for image in images], least)
        return [self._told(one.boxes, one.labels, one.scores, image) for one, image in zip(found, images, strict=True)]

    def crops(self, image: Image, boxes: Sequence[Box]) -> list[RGB]:
        """The boxes, in full pixels, cut out and fitted as the card's input says, ready for `classify` and `embed`.

        `crop`: a square with `margin` around each; `stretch`: the box itself, stretched; `letterbox`: the box, padded.
        """
        return crops(image, boxes, self.card.input)

    def classify(self, arrays: Sequence[RGB], *, top_k: int | None = None) -> list[list[tuple[str, float]]]:
        """Per crop of the card's input size: labels and shares, best first, the `top_k` best where given.

        The shares sum to 1, but with the head `sigmoid` each stands for itself.
        """
        return [self._ranked(row)[:top_k] for row in self._rows(arrays)]

    def embed(self, arrays: Sequence[RGB]) -> Floats:
        """Per crop of the card's input size a vector of length 1: n x dimensions, float32."""
        rows = self._rows(arrays)
        if not rows:
            return np.empty((0, self.card.dimensions or 0), np.float32)
        return unit_length(rows)

    # -- detectors

    def _detect_tiled(self, image: Image, plan: Tiles, least: float) -> list[Detection]:
        # Decoded once, at the finest scale; beside it there is never more than one run's worth of tiles.
        longer = max(image.width, image.height)
        source = image.pixels(max_side=min(longer, math.ceil(longer * max(plan.scales))))
        spec, stride, nms = self.card.input, self.card.stride, self.card.nms
        parts = []
        cut = tiles.cut(image.width, image.height, plan)
        together = self._together()
        for start in range(0, len(cut), together):
            group = cut[start : start + together]
            fed = [sized_part(source, tile.box, spec, stride) for tile in group]
            for tile, one in zip(group, self._look(fed, least), strict=True):
                low, high = np.array(tile.box[:2] * 2), np.array(tile.box[2:] * 2)
                parts.append(tiles.Found(tile, np.clip(one.boxes, low, high), one.labels, one.scores))
        joined = tiles.join(parts, iou=nms.iou, per_label=nms.per_label, most=nms.most)
        return self._told(joined.boxes, joined.labels, joined.scores, image)

    def _look(self, inputs: Sequence[Fed], least: float) -> list[Peaks]:
        """What is in each input, in full pixels of its picture."""
        found: list[Peaks | None] = [None] * len(inputs)
        for group in self._groups(inputs):
            outputs = self._run([inputs[index].array for index in group])
            height, width = inputs[group[0]].array.shape[:2]
            for index, one in zip(group, self._read(outputs, self._ask(width, height, least)), strict=True):
                found[index] = Peaks(inputs[index].to_picture(one.boxes), one.labels, one.scores)
        return [one for one in found if one is not None]

    def _read(self, outputs: Outputs, ask: Ask) -> list[Peaks]:
        """What the head makes of the outputs. Raises `ConfigError` where these are no confidences and boxes."""
        for role, output in outputs.items():
            if np.isnan(output).any():  # below every threshold, it would pass for nothing found
                raise not_finite_error(self.card, role)
        check_unit(self.card, outputs)
        with np.errstate(all="ignore"):  # outputs may hold infinities; what comes of them is looked at here
            found = DETECTORS[self.card.head](outputs, ask)
        for one in found:
            check_shares(self.card, one.scores)
            if not np.isfinite(one.boxes).all():
                raise not_finite_error(self.card, "boxes")
        return [Peaks(one.boxes, one.labels, np.minimum(one.scores, 1)) for one in found]

    def _ask(self, width: int, height: int, least: float) -> Ask:
        card, nms = self.card, self.card.nms
        return Ask(least, width, height, len(card.labels), card.iou, nms.per_label, nms.most)

    def _groups(self, inputs: Sequence[Fed]) -> list[list[int]]:
        """Which inputs run together: those of one size, and on a CPU each alone, which its caches reward."""
        most = self._together()
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, source in enumerate(inputs):
            by_size.setdefault(source.array.shape, []).append(index)
        return [same[start : start + most] for same in by_size.values() for start in range(0, len(same), most)]

    def _together(self) -> int:
        session = self.session()
        return self._batch or (_TOGETHER if _CUDA in session.get_providers() else 1)

    def _told(self, boxes: Boxes, labels: NDArray[np.intp], scores: Floats, image: Image) -> list[Detection]:
        clipped = np.clip(boxes, 0, [image.width, image.height] * 2)
        return [
            Detection((x1, y1, x2, y2), self._label(int(label)), float(score))
            for (x1, y1, x2, y2), label, score in zip(clipped.tolist(), labels, scores, strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _label(self, channel: int) -> str:
        if channel >= len(self.card.labels):
            raise ConfigError(
                f"Model {self.card.name} {self.card.version}: labels: the network told of channel {channel}, counted "
                f"from 0; the card has {len(self.card.labels)} labels.",
                remedy="Give one label per channel, in the channels' order.",
            )
        return self.card.labels[channel]

    # -- classifiers and embedders

    def _rows(self, arrays: Sequence[RGB]) -> list[Floats]:
        """One row of shares, or of numbers, per crop."""
        self.session()
        rows: list[Floats] = []
        most = self._batch or _CROPS
        for start in range(0, len(arrays), most):
            (scores,) = self._run(arrays[start : start + most]).values()
            rows += list(self._finished(scores).reshape(len(scores), -1))
        return rows

    def _finished(self, scores: Floats) -> Floats:
        """Shares, or an embedder's numbers. Raises `ConfigError` where the outputs are none."""
        with np.errstate(all="ignore"):  # as above
            scores = {"logits": softmax, "sigmoid": sigmoid}.get(self.card.head, np.asarray)(scores)
        if self.card.kind == "classifier":
            check_shares(self.card, scores)
        return scores

    def _ranked(self, shares: Floats) -> list[tuple[str, float]]:
        if len(shares) != len(self.card.labels):  # where the file leaves that axis free, it shows only now
            raise labels_error(self.card, len(shares))
        return [(self.card.labels[index], float(shares[index])) for index in np.argsort(-shares, kind="stable")]

    def _run(self, arrays: Sequence[RGB]) -> Outputs:
        session = self.session()
        # A file made for a fixed number of pictures gets as many; what comes of the repeated last one is dropped.
        missing = 0 if self._batch is None else self._batch - len(arrays)
        fed = tensor([*arrays, *[arrays[-1]] * missing], self.card.input)
        outputs = session.run(list(self._names.values()), {self.card.input.name: fed})
        return {
            role: np.asarray(output, np.float32)[: len(arrays)]
            for role, output in zip(self._names, outputs, strict=True)
        }


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
    return opened(model_bytes, options, providers, name=f"Model {card.name} {card.version}", file=card.file)
