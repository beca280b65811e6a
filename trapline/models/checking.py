"""Whether a file keeps its card's word: its hash, versions, input and outputs. Cards are read in `card`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime as ort

from trapline.errors import ConfigError
from trapline.models.card import ModelCard, sha256_of
from trapline.models.forms import HEADS, Form
from trapline.models.onnx_file import OnnxFile, read_onnx, refuse_external

Shape = tuple[int | None, ...]  # none: any

_MANY = 100  # labels; more than these, and than twice the card's, are a sign of an axis that counts something else
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def check_hash(card: ModelCard, model_bytes: bytes) -> None:
    """Refuse bytes that are not those that the card was written for."""
    found = sha256_of(model_bytes)
    if found != card.sha256:
        raise ConfigError(
            f"{_name(card)}: sha256: {card.file} has sha256 {found[:12]}…, its card says {card.sha256[:12]}….",
            remedy="Copy the file again; if it was meant to change, give the card a new version and this sha256.",
        )


def opened(
    model_bytes: bytes, options: ort.SessionOptions, providers: list[str], *, name: str, file: str
) -> ort.InferenceSession:
    """An onnxruntime session of a file whose weights are inside it. `name` and `file` name it in a `ConfigError`."""
    try:
        known = read_onnx(model_bytes)
    except ValueError as error:
        raise _unreadable(name, file, str(error)) from None
    refuse_external(known, name, file)
    try:
        return ort.InferenceSession(model_bytes, options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base that it promises
        raise _too_new(str(error), known, name, file) or _unreadable(name, file, str(error)) from error


def check_session(card: ModelCard, session: ort.InferenceSession) -> Form:
    """Refuse a network whose input and outputs are not what the card says. Returns the form its outputs come in."""
    _check_input(card, session)
    outputs = {out.name: _shape(out.shape) for out in session.get_outputs()}
    form = form_of(card, outputs)
    for role, output in output_names(card, form, list(outputs)).items():
        _check_output(card, role, output, outputs[output], form.shapes[role])
    return form


def form_of(card: ModelCard, outputs: Mapping[str, Shape]) -> Form:
    """Which of the head's forms the outputs come in."""
    head = HEADS[card.head]
    named = [form for form in head.forms if set(card.outputs) <= set(form.shapes)]
    complete = [form for form in named if len(output_names(card, form, list(outputs))) == len(form.shapes)]
    if not complete:
        raise _missing(card, named[-1], list(outputs))
    # Of several, the one whose axes agree; a pair of outputs found by name is surer than any first output.
    complete.sort(key=lambda form: -len(form.shapes))
    return next((form for form in complete if _fits(card, form, outputs)), complete[0])


def output_names(card: ModelCard, form: Form, present: list[str]) -> dict[str, str]:
    """Role to the output's name in the file, of those that are present."""
    found = {}
    for role, names in form.names.items():
        usual = [name for name in names if name in present] if names else present[:1]
        chosen = card.outputs.get(role, usual[0] if usual else "")
        if chosen in present:
            found[role] = chosen
    return found


def _fits(card: ModelCard, form: Form, outputs: Mapping[str, Shape]) -> bool:
    names = output_names(card, form, list(outputs))
    return all(_agrees(outputs[names[role]], _expected(shape, card)) for role, shape in form.shapes.items())


# -- the input


def _check_input(card: ModelCard, session: ort.InferenceSession) -> None:
    spec, inputs = card.input, session.get_inputs()
    names = [put.name for put in inputs]
    if names != [spec.name]:
        raise ConfigError(
            f"{_name(card)}: input.name: the file's input is {', '.join(names)}, its card says {spec.name}.",
            remedy="Correct input.name on the card; exactly one input is supported.",
        )
    dtype = _DTYPES.get(inputs[0].type, inputs[0].type)
    if dtype != spec.dtype:
        known = dtype in _DTYPES.values()
        raise ConfigError(
            f"{_name(card)}: input.dtype: {card.file} takes {dtype}, its card says {spec.dtype}.",
            remedy=f"Write dtype: {dtype}." if known else f"Export it with an input of {', '.join(_DTYPES.values())}.",
        )
    _check_axes(card, _shape(inputs[0].shape))


def _check_axes(card: ModelCard, shape: Shape) -> None:
    spec, told = card.input, shown(shape)
    if len(shape) != 4:
        raise ConfigError(
            f"{_name(card)}: input: {card.file} takes {told}; pictures have four axes.",
            remedy="Export the network so that it takes a batch of pictures, [n, 3, height, width].",
        )
    places = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}
    colours, rows, columns = places[spec.layout]
    other = "nhwc" if spec.layout == "nchw" else "nchw"
    turned = shape[places[other][0]] == 3 and shape[colours] != 3
    if turned or shape[colours] not in (3, None):
        found = f"which is {other}" if turned else "which is not three colours"
        raise ConfigError(
            f"{_name(card)}: input.layout: {card.file} takes {told}, {found}; its card says {spec.layout}.",
            remedy=f"Write layout: {other}." if turned else "Export it for pictures with three colours.",
        )
    for field, side, given in (("height", shape[rows], spec.height), ("width", shape[columns], spec.width)):
        if side is not None and side != given:
            raise ConfigError(
                f"{_name(card)}: input.{field}: {card.file} takes {told}, its card says {given or 'any'}.",
                remedy=f"Write {field}: {side}, or export it with that axis free.",
            )


# -- the outputs


def _check_output(card: ModelCard, role: str, output: str, shape: Shape, wanted: tuple[str, ...]) -> None:
    expected = _expected(wanted, card)
    if card.kind != "detector":
        _check_scores(card, output, shape)
    elif len(shape) not in (0, len(wanted)) or not _agrees(shape, expected):
        raise _wrong_output(card, role, output, shape, wanted)


def _check_scores(card: ModelCard, output: str, shape: Shape) -> None:
    """Labels or dimensions are all axes but the batch's together: [n, 5] and [n, 5, 1, 1] are five."""
    if not shape[1:] or None in shape[1:]:
        return
    channels = 1
    for side in shape[1:]:
        channels *= side or 1
    if card.kind == "classifier" and channels != len(card.labels):
        raise labels_error(card, channels)
    if card.kind == "embedder" and card.dimensions not in (None, channels):
        raise ConfigError(
            f"{_name(card)}: dimensions: the card says {card.dimensions}, the file's {output} has {channels}.",
            remedy=f"Write dimensions: {channels}.",
        )


def _missing(card: ModelCard, form: Form, present: list[str]) -> ConfigError:
    wanted = [card.outputs.get(role, (names or ("one",))[0]) for role, names in form.names.items()]
    missing = ", ".join(name for name in wanted if name not in present)
    roles = ", ".join(f"{role}: NAME" for role in form.shapes)
    return ConfigError(
        f"{_name(card)}: outputs: {card.file} has the outputs {', '.join(present)}; {missing} is missing.",
        remedy=f"Say on the card which is which, as outputs: {{{roles}}}, or correct its head.",
    )


def _wrong_output(card: ModelCard, role: str, output: str, shape: Shape, wanted: tuple[str, ...]) -> ConfigError:
    """Either the labels are too few or too many, or the head is another."""
    others = _plausible(card, shape)
    wrong = [at for at, pair in enumerate(zip(shape, _expected(wanted, card), strict=False)) if not _same(*pair)]
    if len(shape) == len(wanted) and len(wrong) == 1 and "labels" in wanted[wrong[0]]:
        channels = (shape[wrong[0]] or 0) - _more(wanted[wrong[0]])
        if channels > 0 and not (others and channels > max(_MANY, 2 * len(card.labels))):
            return labels_error(card, channels, others)
    looks = " or ".join(f"head: {name}" for name in others)
    return ConfigError(
        f"{_name(card)}: head: {card.head} wants {role} as [{', '.join(wanted)}], with {len(card.labels)} labels; "
        f"the file's {output} is {shown(shape)}.",
        remedy=f"It looks like {looks}." if looks else "Correct head, outputs or labels on the card.",
    )


def _plausible(card: ModelCard, shape: Shape) -> list[str]:
    """The other heads of one output, for the same kind of model, that have this shape with as many labels."""
    fitting: list[str] = []
    for name, head in HEADS.items():
        if name != card.head and head.kind == card.kind and None not in shape[1:]:
            shapes = [next(iter(form.shapes.values())) for form in head.forms if len(form.shapes) == 1]
            if any(len(one) == len(shape) and _agrees(shape, _expected(one, card)) for one in shapes):
                fitting.append(name)
    return fitting


def _expected(wanted: tuple[str, ...], card: ModelCard) -> Shape:
    """A shape in words to one in numbers, none where any will do."""
    labels = len(card.labels)
    return tuple(int(one) if one.isdecimal() else labels + _more(one) if "labels" in one else None for one in wanted)


def _more(axis: str) -> int:
    """How many channels an axis has beside the labels': 4 in `4 + labels`."""
    return sum(int(number) for number in re.findall(r"\d+", axis))


def _agrees(shape: Shape, expected: Shape) -> bool:
    """An output of unknown shape agrees with everything."""
    return not shape or (len(shape) == len(expected) and all(map(_same, shape, expected)))


def _same(side: int | None, expected: int | None) -> bool:
    return side is None or expected is None or side == expected


def labels_error(card: ModelCard, channels: int, others: Sequence[str] = ()) -> ConfigError:
    """What is wrong with a card of another number of labels than its file has channels."""
    looks = f" With as many labels as there are it looks like head: {' or '.join(others)}." if others else ""
    return ConfigError(
        f"{_name(card)}: labels: the card has {len(card.labels)} labels, the file's output has {channels} channels.",
        remedy=f"Give one label per channel, in the channels' order.{looks}",
    )


def no_shares_error(card: ModelCard, score: float) -> ConfigError:
    """What is wrong with a card that calls a classifier's scores shares, where they are of any size."""
    return ConfigError(
        f"{_name(card)}: head: softmax reads shares of 0 to 1; the file's output is {score:.4g}.",
        remedy="Write head: logits, or head: sigmoid where several labels may be true.",
    )


# -- words


def _name(card: ModelCard) -> str:
    return f"Model {card.name} {card.version}"


def _shape(sides: list[Any] | None) -> Shape:
    return tuple(side if isinstance(side, int) and side > 0 else None for side in sides or [])


def shown(shape: Shape) -> str:
    """A shape as people write it."""
    return f"[{', '.join('any' if side is None else str(side) for side in shape)}]"


def _unreadable(name: str, file: str, problem: str) -> ConfigError:
    return ConfigError(
        f"{name}: file: {file} cannot be loaded ({' '.join(problem.split())[:160]}).",
        remedy="Export it as one ONNX file, weights inside.",
    )


def _too_new(problem: str, known: OnnxFile, name: str, file: str) -> ConfigError | None:
    """What onnxruntime says of a file that is newer than itself, in words that help."""
    if most := re.search(r"max supported IR version:\s*(\d+)", problem):
        return ConfigError(
            f"{name}: file: {file} needs ONNX IR version {known.ir_version}, this onnxruntime reads up to {most[1]}.",
            remedy="Export again with an older onnx package, or upgrade onnxruntime.",
        )
    found = re.search(r"[Oo]pset (\d+) is under development.*?for domain (\S+) is till opset (\d+)", problem, re.S)
    if found is None:
        return None
    opset, domain, most_read = found.groups()
    of = "" if domain == "ai.onnx" else f" of {domain}"
    return ConfigError(
        f"{name}: file: {file} needs opset {opset}{of}, this onnxruntime reads up to {most_read}.",
        remedy=f"Export again with opset_version={most_read}, or upgrade onnxruntime (here is {ort.__version__}).",
    )
