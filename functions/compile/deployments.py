"""Where the images of a manifest were taken: its `deployment`, or those of `deployments` that its images name."""

from __future__ import annotations

from typing import Any

from functions.compile.picture import Mapping, mapping

_NAMES = ("deploymentID", "deploymentId", "id")  # how a deployment's own identifier is spelled
_REFERS = ("deploymentID", "deploymentId")  # how an image says it


def identity(deployment: Mapping) -> str:
    """What a deployment is called by itself; empty where it says nothing."""
    return _first(deployment, _NAMES)


class Deployments:
    """A manifest's deployments, found by the id of an image."""

    def __init__(self, manifest: Mapping | None) -> None:
        told = manifest or {}
        self._all = mapping(told.get("deployment"))
        known = {identity(entry): entry for entry in _objects(told.get("deployments")) if identity(entry)}
        images = _objects(told.get("sourceImages")) if known else []
        named = ((image.get("id"), _first(image, _REFERS)) for image in images)
        self._of = {ident: known[name] for ident, name in named if name in known}

    def of(self, image: str) -> Mapping:
        """Where an image was taken, by the manifest's id for it; what `deployment` says holds where nothing else is."""
        own = self._of.get(image)
        return {**self._all, **own} if own else self._all


def _objects(value: Any) -> list[Mapping]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _first(told: Mapping, names: tuple[str, ...]) -> str:
    """The first of several fields that is a word or a whole number."""
    for name in names:
        value = told.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""
