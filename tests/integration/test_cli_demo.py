"""`trapline demo`: the main job once; Ctrl-C at any moment; run again, it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from trapline.cli import main; main()", "demo"]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAPLINE_"))}
    return {**kept, "COLUMNS": "80", "NO_COLOR": "1"}


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        PROGRAM,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def running_in(folder: Path) -> list[str]:
    """The processes that have anything to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            here = os.readlink(path.parent / "cwd") == str(folder)
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if here or str(folder) in words:
            found.append(words)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_leaves_nothing_running_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for seconds in (0.6, 1.2, 2.5):
        demo = start(tmp_path)
        time.sleep(seconds)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does it: to every process of the group
        began = time.monotonic()
        _, said = demo.communicate(timeout=10)
        assert (demo.returncode, time.monotonic() - began < 2.5) == (130, True)
        assert "Stopped; nothing is left running. Run it again and it goes on." in said
        assert running_in(tmp_path) == []
    demo = start(tmp_path)
    shown, said = demo.communicate(timeout=60)
    assert demo.returncode == 0, shown + said
    assert "Every expected result is there." in shown
    assert "image_truncated" in shown
    assert "aws --endpoint-url" in shown
    assert running_in(tmp_path) == []
    again, _ = start(tmp_path).communicate(timeout=60)
    assert "Everything was already there" in again
