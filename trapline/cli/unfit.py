"""Models in the bucket that cannot be used. Each is loaded in a process of its own: it may hang, or take all memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from trapline.cli import words
from trapline.cli.seeding import Needed
from trapline.errors import ConfigError, StoreError
from trapline.executors.opening import WorkerConfig, open_configured
from trapline.keys import Layout
from trapline.pipeline.load import load_pipeline
from trapline.registry import CARD, Registry
from trapline.store.base import Store

LIMIT = 60  # seconds for one model
_PROGRAM = (sys.executable, "-m", "trapline.cli.unfit")
_ANOTHER = "Export it again, and add it with `trapline models add`, or put another version into force."


async def unfit(models: Sequence[Needed], config: WorkerConfig, limit: float = LIMIT) -> AsyncIterator[str]:
    """What is wrong with each of these models; a line for each that cannot be used."""
    for one in models:
        if why := await _problem(one, config, limit):
            yield words.safe(f"{one.name} {one.version}, for {one.used_by}: {why}")


async def _problem(needed: Needed, config: WorkerConfig, limit: float) -> str:
    """Empty where the model is sound."""
    asked = {"config": config.model_dump(mode="json"), "model": [needed.name, needed.version]}
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM,
        str(int(limit) + 10),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is the engine's to answer
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), limit)
    except TimeoutError:
        return f"It could not be loaded within {limit:.0f} s. {_ANOTHER}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return f"The process that loaded it ended with {process.returncode}. {_ANOTHER}"
    return said.decode("utf-8", "replace")


# -- in the process of its own


def _main() -> None:
    signal.alarm(int(sys.argv[1]))  # also where the engine is gone
    os.nice(10)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory ends, it is this process that goes
    asked = json.load(sys.stdin)
    config = WorkerConfig.model_validate(asked["config"])
    sys.stdout.write(_wrong(open_configured(config), load_pipeline(config.project).layout, *asked["model"]))


def _wrong(store: Store, layout: Layout, name: str, version: str) -> str:
    from trapline.models import check_model, read_card  # noqa: PLC0415 - the engine itself needs no onnxruntime

    registry = Registry(store, layout)
    try:
        card = read_card(registry.card(name, version), layout.model(name, version, CARD))
        check_model(card, registry.file(name, version))
    except ConfigError as error:
        return f"{error.message} {error.remedy}"
    except StoreError:
        return ""  # it may be well again when a job needs the model
    return ""


if __name__ == "__main__":
    _main()
