"""Where the images of a manifest were taken: its `deployment`, or those of `deployments` that its images name."""

from __future__ import annotations

from typing import Any

from functions.compile.picture import Mapping, mapping
from trapline.records.deployments import by_identity, referred


class Deployments:
    """A manifest's deployments, found by the id of an image."""

    def __init__(self, manifest: Mapping | None) -> None:
        told = manifest or {}
        self._all = mapping(told.get("deployment"))
        known = by_identity(told.get("deployments"))
        images = _objects(told.get("sourceImages")) if known else []
        named = ((image.get("id"), referred(image)) for image in images)
        self._of = {ident: known[name] for ident, name in named if name in known}

    def of(self, image: str) -> Mapping:
        """Where an image was taken, by the manifest's id for it; what `deployment` says holds where nothing else is."""
        own = self._of.get(image)
        return {**self._all, **own} if own else self._all


def _objects(value: Any) -> list[Mapping]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
