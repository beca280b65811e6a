"""An engine on a store that is not its own, reached over S3 alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.integration.engine import Engine, environment


@contextmanager
def outside(
    traps: Path, room: Path, settings: Mapping[str, object], endpoint: str, access: str, secret: str, **env: str
) -> Iterator[Engine]:
    """With other settings at the top of its pipeline.yaml."""
    path = traps / "pipeline.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}, sort_keys=False))
    keys = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    served = Engine(traps, room / "data", environment(**keys, **env))
    try:
        served.start()
        served.told |= {"access_key": access, "secret_key": secret}
        yield served
    finally:
        served.end()
