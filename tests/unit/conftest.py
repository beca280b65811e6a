"""What the tests of an engine in simulated time share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BASIC = Path(__file__).parents[1] / "functions" / "basic"


@pytest.fixture
def case() -> Iterator[Any]:
    """The functions of the basic pipeline, which remember nothing of an earlier test."""
    sys.path.insert(0, str(BASIC))
    case = importlib.import_module("case_basic")
    case.forget()
    yield case
    sys.path.remove(str(BASIC))
