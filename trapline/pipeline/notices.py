"""The addresses under `notify:` of `pipeline.yaml`: they hold passwords, so none is ever shown."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr

from trapline.errors import ConfigError
from trapline.records import LEAST_LINKS, MOST_LINKS

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+|file:/.+|.*\$\{[A-Za-z_][A-Za-z0-9_]*\}.*", re.S)
_FORMS = "write schema://… of Apprise, ${NAME} of the environment, or file:/PATH"


def _addresses(value: object) -> object:
    """Checked here, where what is wrong is told without repeating it."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise ValueError(f"expected a list of addresses; {_FORMS}")
    for place, entry in enumerate(entries):
        if not isinstance(entry, str | SecretStr) or not _ADDRESS.fullmatch(_plain(entry)):
            raise ValueError(f"entry {place + 1} is no address; {_FORMS}")
    return tuple(entries)


def _plain(entry: str | SecretStr) -> str:
    return entry.get_secret_value() if isinstance(entry, SecretStr) else entry


def _lasting(value: timedelta) -> timedelta:
    if not LEAST_LINKS <= value <= MOST_LINKS:
        raise ValueError("links are good for PT1M to P7D; write for example PT24H")
    return value


def as_settings(value: object) -> object:
    """A lone value in place of settings may hold a password."""
    if not isinstance(value, dict | BaseModel):
        raise ValueError("expected `key: value` settings, such as {to: [mailto://…]}")
    return value


Addresses = Annotated[tuple[SecretStr, ...], BeforeValidator(_addresses)]
Lasting = AfterValidator(_lasting)


def resolved(address: SecretStr, environment: Mapping[str, str] = os.environ) -> str:
    """An Apprise URL with what it names put in. Raises `ConfigError`, which never repeats the address."""
    text = address.get_secret_value()
    if text.startswith("file:/"):
        text = _read(Path(text.removeprefix("file:")))
    missing = [name for name in _NAME.findall(text) if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"pipeline.yaml: notify.to: ${{{missing[0]}}} is not in the environment.",
            remedy=f"Set {missing[0]} where `trapline up` is started.",
        )
    return _NAME.sub(lambda found: environment[found[1]], text)


def mark(address: SecretStr) -> str:
    """Tells an address from its neighbours, wherever it is named; too short to try passwords against."""
    return hashlib.sha256(address.get_secret_value().encode("utf-8", "surrogatepass")).hexdigest()[:4]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"pipeline.yaml: notify.to: {path} cannot be read.", remedy="It must be a file with one Apprise URL."
        ) from None
