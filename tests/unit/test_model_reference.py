"""The reference of model cards says what there is, and what it shows are cards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from trapline.models import Input, ModelCard, Nms, Pad, Taxon, Tiles, checked_card
from trapline.models.card import Rank
from trapline.models.forms import HEADS

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/model.md").read_text()
PARTS: dict[str, type[BaseModel]] = {
    "": ModelCard,
    "input": Input,
    "pad": Pad,
    "nms": Nms,
    "tiles": Tiles,
    "labels": Taxon,
}
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| --")]
SECTIONS = {
    part: next(text for text in re.split(r"^#+ ", PAGE, flags=re.M) if text.startswith(f"`{part}`"))
    for part in ("input", "nms", "tiles", "labels")
} | {"": PAGE.split("### ")[0]}
SECTIONS["pad"] = SECTIONS["input"]
FIELDS = [(part, field.alias or key, field) for part, kind in PARTS.items() for key, field in kind.model_fields.items()]


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, name, _ in FIELDS])
def test_every_field_has_its_row(part: str, name: str) -> None:
    shown = f"{part}.{name}" if part == "pad" else name
    if (part, name) == ("input", "pad"):
        shown = "pad.colour"
    assert re.search(rf"^\|[^|\n]*`{re.escape(shown)}`[^|\n]*\|", SECTIONS[part], re.M)


def test_every_head_has_its_row_with_the_roles_and_shapes_it_reads() -> None:
    table = PAGE.split("## Heads")[1].split("## Examples")[0]
    for name, head in HEADS.items():
        rows = "".join(re.findall(rf"^\| `{name}` \|.*$", table, re.M))
        for form in head.forms:
            for role, shape in form.shapes.items():
                assert f"`{role}`" in rows and f"`[{', '.join(shape)}]`" in rows, (name, role)


def test_the_defaults_that_it_tells_are_those_there_are() -> None:
    own = ", ".join(f"`{name}` {head.iou:g}" for name, head in HEADS.items() if head.iou < 1)
    assert own in SECTIONS["nms"]
    for part, name, field in FIELDS:
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool) and field.default != "":
            (told, *_) = re.findall(rf"^\|[^|]*`(?:pad\.)?{name}`[^|]*\|[^|]*\|([^|]*)\|", SECTIONS[part], re.M)
            expected = "1/255" if name == "scale" else str(field.default).removesuffix(".0")
            assert expected in told, (part, name)


def test_every_rank_is_told() -> None:
    assert all(f"`{rank}`" in SECTIONS["labels"] for rank in get_args(Rank))


EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_card(example: str) -> None:
    assert checked_card(yaml.safe_load(example)).licence


def test_there_is_an_example_of_every_kind() -> None:
    assert {yaml.safe_load(example)["kind"] for example in EXAMPLES} == {"detector", "classifier", "embedder"}
