"""What the tests of a whole engine share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.ceph.cluster import Ceph, ceph, missing
from tests.integration.calm import contents, crops, drop, told
from tests.integration.engine import Engine, engine, project


@pytest.fixture(scope="module")
def quick_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project, whose jobs close when they were quiet for a few seconds."""
    return project(tmp_path_factory.mktemp("quick") / "traps")


@pytest.fixture(scope="module")
def served(quick_project: Path) -> Iterator[Engine]:
    """One engine for a whole module; each test has a job of its own."""
    with engine(quick_project, quick_project.parent / "data") as made:
        yield made


@pytest.fixture(scope="module")
def images(request: pytest.FixtureRequest) -> dict[str, bytes]:
    """Three jobs of small images, as many as the module's `IMAGES` says."""
    return crops(request.module.IMAGES)


@pytest.fixture(scope="module")
def calm(traps: Path, images: dict[str, bytes]) -> dict[str, bytes]:
    """What a run of the module's project, its `traps`, leaves in which nothing happens."""
    with engine(traps, traps.parent / "calm") as served:
        drop(served, images)
        told(served)
        assert served.stop() == 0
        return contents(served.root)


@pytest.fixture(scope="module")  # while it is open no other test can run an event loop in this thread
def browser() -> Iterator[Browser]:
    """A headless Chromium: Debian's, or `$CHROMIUM`; skips on a machine without one, fails where CI lacks it."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs chromium: see .ci/run")
        pytest.skip("needs Debian's package: apt-get install --no-install-recommends chromium; or $CHROMIUM")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root Chromium starts without one alone
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=options)
        yield made
        made.close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A Ceph gateway for the whole session; skips on a machine without Debian's packages, fails where CI lacks them."""
    if lacking := missing():
        if os.environ.get("CI"):
            pytest.fail(f"CI installs {lacking}: see .ci/run")
        pytest.skip(f"needs Debian's packages: apt-get install --no-install-recommends {lacking}")
    with ceph(tmp_path_factory.mktemp("ceph")) as made:
        yield made
