"""A moment of fuzzing, the same each time, and the page that lists what is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import fuzz
from tests.hostile.page import page
from tests.unit.wrong_pipelines import EXAMPLE
from trapline.errors import ConfigError
from trapline.models import read_card
from trapline.pipeline.reading import read_settings
from trapline.pipeline.spec import PipelineSpec

INPUTS = {"images": 400, "manifests": 4_000, "records": 3_000, "done": 4_000, "events": 4_000, "config": 80}


@pytest.mark.parametrize("what", fuzz.TARGETS)
def test_only_declared_errors_come_out_in_bounded_time_and_memory(what: str) -> None:
    assert fuzz.run(what, 60, seed=1, most=INPUTS[what]) > min(INPUTS[what] // 4, 70)


def test_an_input_that_fails_is_kept_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = fuzz.Target(lambda: [b"x"], lambda data: 1 // (b"\xff" not in data), ())
    fuzz.TARGETS["broken"] = target
    try:
        assert fuzz.main(["--what", "broken", "--seconds", "20", "--keep", str(tmp_path)]) == 1
    finally:
        del fuzz.TARGETS["broken"]
    (kept,) = tmp_path.iterdir()
    assert b"\xff" in kept.read_bytes() and str(kept) in capsys.readouterr().err


LAUGHS = "x0: &x0 [a, b]\n" + "".join(
    f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}, *x{n - 1}, *x{n - 1}]\n" for n in range(1, 30)
)
MERGES = "x0: &x0 {a: b}\n" + "".join(f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}, *x{n - 1}]}}\n" for n in range(1, 30))
CONFIGS = {
    "aliases of aliases": (LAUGHS + EXAMPLE, "stands for more than"),
    "merges of merges": (MERGES + EXAMPLE, "stands for more than"),
    "an alias of itself": ("name: &a [*a]\n", "an alias stands for what it is part of"),
    "a hundred thousand brackets": ("name: " + "[" * 100_000, "nested too deeply"),
    "a hundred lists in each other": ("name: " + "[" * 100 + "]" * 100, "nested too deeply"),
    "a number of many digits": ("name: " + "9" * 5_000, "a number of 5000 digits"),
    "a number of many sixties": ("name: 1" + ":01" * 100_000, "a number of 300001 digits"),
    "an object of Python": ("name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    "a tag on nothing": ("name: !!int ''\n", "not what its tag says"),
    "a tag on a word": ("name: !!bool perhaps\n", "not what its tag says"),
    "a date that is none": ("name: !!timestamp never\n", "not what its tag says"),
    "a key given twice": ("name: a\nname: b\n", "given twice"),
    "too long": ("#" * 4_000_001, "more than 4000000"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_settings_that_attack_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    text, said = CONFIGS[what]
    (tmp_path / "pipeline.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_settings(PipelineSpec, tmp_path / "pipeline.yaml", "pipeline.yaml")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    with pytest.raises(ConfigError, match=said):
        read_card(text.encode())


def test_the_page_of_hostile_inputs_is_as_printed() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "reference" / "hostile-inputs.md"
    assert path.read_text() == page(), "run python -m tests.hostile.page"
