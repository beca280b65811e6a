"""The example in torch, from upload to result, with real torch in the function's environment.

It is skipped where the tests' own Python has no torch: `pip install -e '.[train]'`, then
`python -m pytest -m slow tests/integration/test_torch.py`.
"""

from __future__ import annotations

import io
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter

from tests.integration.engine import engine, insects, night, project, until
from tests.venvs import ROOT, bare_venv, site_packages

TORCH = find_spec("torch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(TORCH is None, reason="torch is not installed: pip install -e '.[train]'"),
]


def blurred(data: bytes) -> bytes:
    """An image out of focus."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).filter(ImageFilter.GaussianBlur(3)).save(out, "JPEG", quality=95)
    return out.getvalue()


def share_blurred(known: dict[str, Any]) -> float:
    return sum(bool(found["blurred"]) for found in known["detections"]) / len(known["detections"])


def test_a_function_in_torch_runs_beside_functions_that_know_nothing_of_it(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    shutil.copyfile(ROOT / "local_dev/examples/torch/pipeline.yaml", made / "pipeline.yaml")
    venv = bare_venv(made, "sharpness")
    assert TORCH is not None and TORCH.origin is not None
    (site_packages(venv) / "a-torch.pth").write_text(f"{Path(TORCH.origin).parents[1]}\n")
    with engine(made, tmp_path / "data") as served:
        served.upload("st1/n1", {"sharp.jpg": night(9), "soft.jpg": blurred(night(9))})
        until(lambda: served.summary("st1/n1").get("final"), 90, served.said)
        sharp, soft = (served.json(f"sharpness/st1/n1/{name}.jpg.json")["known"] for name in ("sharp", "soft"))
        assert len(sharp["detections"]) == insects(9)
        assert all(found["blurred"] is (found["sharpness"] < 3) for found in sharp["detections"])
        assert share_blurred(sharp) < 0.2 and share_blurred(soft) > 0.8
        assert 0 < soft["sharpness"] < sharp["sharpness"] / 2
        (line,) = (line for name, line in served.lines("st1/n1").items() if name == "sharp.jpg")
        assert {"sharpness", "classifications"} <= set(line["detections"][0])
        assert served.processes(str(venv), "trapline.executors.worker")
