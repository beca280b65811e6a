"""What Cog's server runs: one prediction is one image through both stages."""

from __future__ import annotations

from typing import Any

from cog import BaseRunner, Input, Path

from bench.stages import stages


class Runner(BaseRunner):
    """The functions as a Cog model."""

    def setup(self) -> None:
        """Load the models."""
        stages()

    def run(self, image: Path = Input(description="A photograph")) -> dict[str, Any]:  # noqa: B008 (Cog's own way)
        """What is known of the image."""
        return stages().run(str(image))
