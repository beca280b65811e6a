"""The programs that stations upload with: where they are, and how they are led to an engine's store."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.engine import Engine

Run = Callable[..., str]  # words of a command → what it printed


def minio_client() -> str | None:
    """The MinIO client: named by `MC`, or on the PATH under either of its names. Midnight Commander is none."""
    return _program("MC", ("minio-client", "mc"), "minio")


def aws_cli() -> str | None:
    """The AWS command line: named by `AWS_CLI`, or on the PATH."""
    return _program("AWS_CLI", ("aws",), "aws-cli")


def mc(served: Engine, room: Path) -> Run:
    """The MinIO client, to which the store is `trap`; without it, its test is skipped."""
    program = minio_client() or pytest.skip("the MinIO client is not installed")
    run = _run([program, "--config-dir", str(room / "mc")], served.env)
    run("alias", "set", "trap", served.told["endpoint"], served.told["access_key"], served.told["secret_key"])
    return run


def aws(served: Engine, room: Path) -> Run:
    """The AWS command line; without it, its test is skipped, but fails where CI lacks it."""
    program = aws_cli()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs awscli: see .ci/run")
        pytest.skip("the AWS command line is not installed: apt-get install awscli")
    env = served.env | {
        "AWS_ACCESS_KEY_ID": str(served.told["access_key"]),
        "AWS_SECRET_ACCESS_KEY": str(served.told["secret_key"]),
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(room),
    }
    return _run([program, "--endpoint-url", str(served.told["endpoint"])], env)


def _run(program: list[str], env: dict[str, str]) -> Run:
    def run(*words: str) -> str:
        done = subprocess.run([*program, *words], env=env, timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        return done.stdout

    return run


def _program(named: str, names: tuple[str, ...], says: str) -> str | None:
    """The first of that name which is what its version says: some are another program, some only lead to one."""
    own = os.environ.get(named)
    found = [shutil.which(name, path=folder) for folder in os.get_exec_path() for name in names]
    return next((path for path in (own and shutil.which(own), *found) if path and says in _version(path)), None)


def _version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout + done.stderr).lower() if done.returncode == 0 else ""
