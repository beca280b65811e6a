"""Writing measured figures on a model's card. Nothing else of the card changes, its comments included."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trapline.errors import ConfigError, SurroundingsError
from trapline.models import read_card
from trapline.pipeline.reading import parsed

_BLOCK = re.compile(r"^quality[ \t]*:.*\n?(?:(?:[ \t].*|[ \t]*)(?:\n|\Z))*", re.M)


def write_quality(card: Path, figures: Mapping[str, Any]) -> None:
    """Put `figures` under `quality` of the card, whole or not at all. Raises `ConfigError`, `SurroundingsError`."""
    read_card(card)
    text = with_quality(card.read_bytes().decode("utf-8-sig"), figures)
    read_card(text.encode(), str(card))
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=card.parent, delete=False) as aside:
            aside.write(text)
        os.chmod(aside.name, card.stat().st_mode & 0o777)
        os.replace(aside.name, card)
    except OSError as error:
        raise SurroundingsError(
            f"{card}: cannot be written ({error.strerror}).", remedy="Check your rights."
        ) from error


def with_quality(text: str, figures: Mapping[str, Any]) -> str:
    """A card's text with other figures under `quality`."""
    before = parsed(text)
    if not isinstance(before, dict):
        raise ConfigError("The card holds no fields.", remedy="Write a model card first.")
    wanted = {**before, "quality": dict(figures)}
    block = yaml.safe_dump({"quality": dict(figures)}, sort_keys=False, allow_unicode=True, width=100)
    if "quality" in before:
        made = _BLOCK.sub(lambda _: block, text, count=1)
    else:
        made = text + ("" if text.endswith("\n") or not text else "\n") + block
    try:
        if parsed(made) == wanted:
            return made
    except (yaml.YAMLError, ValueError):
        pass
    return yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=100)
