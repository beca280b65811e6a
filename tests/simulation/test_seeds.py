"""Worlds that are played at every run of the tests."""

from __future__ import annotations

import pytest

from tests.simulation.world import play, simulated_pipeline

KEPT = (6, 16, 18, 33, 84, 129, 154, 196, 203, 428, 437)  # each found a bug


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_found_a_bug_passes(seed: int) -> None:
    play(seed)


def test_a_hundred_worlds_keep_every_promise() -> None:
    pipeline = simulated_pipeline()
    for seed in range(10_000, 10_100):
        play(seed, pipeline)
