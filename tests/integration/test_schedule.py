"""A schedule in an engine that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engine import Engine, engine, environment, night, project, until


def scheduled(folder: Path, *entries: dict[str, Any]) -> Path:
    """The sample project with a schedule, and the manifest that it drops."""
    made = project(folder)
    spec = yaml.safe_load((made / "pipeline.yaml").read_text())
    spec["triggers"] = ["folder", {"schedule": {"every": list(entries)}}]
    (made / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    manifest = {
        "jobId": "import-{date}T{time}",
        "sourceImages": [{"id": "a", "url": "incoming/pool/x/a.jpg"}],
    }
    (made / "nightly.json").write_text(json.dumps(manifest))
    return made


DROP = {"cron": "*/4 * * * * *", "manifest": "nightly.json", "job": "nightly/{date}T{time}"}


@pytest.mark.slow
def test_each_run_of_a_manifest_becomes_a_job_with_results(tmp_path: Path) -> None:
    made = scheduled(tmp_path / "traps", DROP, {"cron": "*/2 * * * * *", "sweep": True})
    with engine(made, tmp_path / "data") as served:
        served.put("incoming/pool/x/a.jpg", night(2))
        until(lambda: len(served.keys("jobs/nightly/")) > 4, 60, served.said)
        jobs = served.keys("jobs/nightly/")[2:4]
        for job in (key.removeprefix("jobs/").removesuffix(".json") for key in jobs):
            summary = served.closed(job)
            assert summary["state"] == "SUCCEEDED"
            assert [line["rel"].startswith(f"{job}/a-") for line in served.lines(job).values()] == [True]
        assert "event=schedule.sweep" in (served.data / "engine" / "engine.log").read_text()


def test_an_engine_does_not_start_with_a_schedule_that_cannot_be_kept(tmp_path: Path) -> None:
    made = scheduled(tmp_path / "traps", DROP | {"cron": "0 25 * * *"})
    refused = Engine(made, tmp_path / "data", environment())
    with pytest.raises(AssertionError, match=r"triggers\.schedule\.every\.0: cron: '0 25 \* \* \*' is not a cron line"):
        refused.start()
    assert refused.wait() == 2
    assert "Traceback" not in refused.said()
