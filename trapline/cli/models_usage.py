"""Which stages of a pipeline use which models, and the bucket that the models are in."""

from __future__ import annotations

from dataclasses import dataclass

from trapline.cli.place import Place, writer
from trapline.pipeline.load import Pipeline
from trapline.registry import Registry
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore


@dataclass(frozen=True)
class Use:
    """A stage's use of a model."""

    stage: str
    function: str
    model: str
    version: str  # as written; `current` is the one in force

    @property
    def named(self) -> str:
        """For people: `detect`, `detect (always 1.0.0)`."""
        return self.stage if self.version == "current" else f"{self.stage} (always {self.version})"


def uses(pipeline: Pipeline) -> list[Use]:
    """Every use of a model, stages in their order."""
    found = []
    for stage in pipeline.stages.values():
        for function in stage.functions.values():
            own = getattr(stage.spec, "model", None) if function.name == stage.spec.function else None
            chosen = own or function.model
            if chosen is not None:
                found.append(Use(stage.name, function.name, chosen.name, chosen.version))
    return found


def reading(place: Place) -> Registry:
    """The bucket's models, for looking; a bucket that no engine has made yet is empty."""
    absent = place.endpoint is None and not place.folder.is_dir()
    return Registry(MemoryStore() if absent else place.store(), place.layout)


def writing(place: Place) -> Registry:
    """The bucket's models, for adding; the embedded bucket is made where there is none yet."""
    if place.endpoint is None and not place.folder.is_dir():
        for folder in (place.data, place.data / "engine"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # manifests and keys will be in them
        FolderStore(place.folder, place.data / "engine" / "scratch")
    return Registry(writer(place), place.layout)
