"""Memory of a compile does not grow with the job, whatever it writes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from functions.compile.outputs import MODULES, parquet
from functions.compile.tally import LABELS
from tests.compiled import endless

WITHOUT_IMAGES = [name for name in MODULES if name not in ("report", "charts")]  # those look at the pictures themselves
RSS = """
import resource, sys
from pathlib import Path
from tests.compiled import endless
endless(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("outputs", [["csv"], pytest.param(WITHOUT_IMAGES, marks=pytest.mark.slow)])
def test_what_python_holds_does_not_grow_even_if_every_label_is_another(
    outputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        body = endless(count, tmp_path, *outputs)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(body["labels"]) == LABELS and body["other_labels"] == 3 * count - LABELS
        return size

    monkeypatch.setattr(parquet, "ROWS", 500)
    endless(400, tmp_path, *outputs)  # what is made once, at first use
    assert peak(1600) < peak(400) + 250_000  # 1,200 more images, of 3 labels each


@pytest.mark.slow
@pytest.mark.parametrize("output", WITHOUT_IMAGES)
def test_what_the_process_holds_does_not_grow_with_the_job(output: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        command = [sys.executable, "-c", RSS, str(count), str(tmp_path), output]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    small, large = peak(2_000), peak(20_000)
    most = 40_000 if output == "parquet" else 12_000  # a group of rows; caches of fixed size
    assert large < small + most, f"{small} kB, then {large} kB"
