"""How a manifest's deployments are called, and how its images name theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = ("deploymentID", "deploymentId", "id")  # how a deployment's own identifier is spelled
_REFERS = ("deploymentID", "deploymentId")  # how an image says it


def identity(deployment: Mapping[str, Any]) -> str:
    """What a deployment is called by itself; empty where it says nothing."""
    return _first(deployment, _NAMES)


def referred(image: Mapping[str, Any]) -> str:
    """The deployment that an image names; empty where it names none."""
    return _first(image, _REFERS)


def by_identity(deployments: Any) -> dict[str, dict[str, Any]]:
    """A manifest's `deployments` that have a name, by it."""
    entries = [one for one in deployments if isinstance(one, dict)] if isinstance(deployments, list | tuple) else []
    return {identity(entry): entry for entry in entries if identity(entry)}


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of several fields that is a word or a whole number."""
    for name in names:
        value = told.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""
