"""What a job's stages are run with."""

from __future__ import annotations

from typing import Any

from trapline.records.base import Frozen
from trapline.records.image import ModelRef


class Pin(Frozen):
    """What one stage of one job is run with."""

    stage: str
    recipe: str
    function: str = ""
    version: str = ""
    model: ModelRef | None = None
    parameters: dict[str, Any] = {}
    when: dict[str, Any] | None = None
    enabled: bool = True  # False: the manifest left the stage's type out
