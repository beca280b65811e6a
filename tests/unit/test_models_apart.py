"""A process of its own for what a model's file asks for."""

from __future__ import annotations

import signal
import time

import pytest

from trapline.cli.models_apart import Apart
from trapline.cli.models_options import check_name
from trapline.errors import ConfigError


def test_what_is_returned_and_raised_there_arrives_here() -> None:
    with Apart(60) as apart:
        assert apart.run("m", sorted, [2, 1]) == [1, 2]
        with pytest.raises(ConfigError, match="is not a model's name") as caught:
            apart.run("m", check_name, "A B")
        assert caught.value.remedy.startswith("Write lower-case letters")
        with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
            apart.run("m", int, "x")


def test_what_takes_too_long_is_stopped_and_its_time_counts_together() -> None:
    with Apart(3) as apart:
        apart.run("m", time.sleep, 1.5)
        began = time.monotonic()
        with pytest.raises(ConfigError, match="m was not loaded and tried within 3 seconds"):
            apart.run("m", time.sleep, 60)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGSEGV, r"crash \(SIGSEGV\)"),
        (signal.SIGABRT, r"crash \(SIGABRT\)"),
        (signal.SIGKILL, "memory runs out"),
    ],
)
def test_what_dies_is_told(number: signal.Signals, said: str) -> None:
    with Apart(60) as apart, pytest.raises(ConfigError, match=said) as caught:
        apart.run("m", signal.raise_signal, number)
    assert caught.value.remedy
