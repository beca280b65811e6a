"""A function whose requirement is not installed."""

from __future__ import annotations

import importlib
from typing import Any

insects = importlib.import_module("insects_that_nobody_installed")


class Missing:
    """Never comes so far."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{} for _ in items]
