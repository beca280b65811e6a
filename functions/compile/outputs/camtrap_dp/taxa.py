"""What the labels of a job mean: kinds of observation and scientific names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from functions.compile.picture import Mapping
from functions.compile.results import Results
from functions.compile.words import Words

_TYPES = {  # words of detectors and classifiers → the kinds of Camtrap DP; any other word is an animal's
    "": "unclassified",
    "human": "human",
    "person": "human",
    "people": "human",
    "vehicle": "vehicle",
    "car": "vehicle",
    "blank": "blank",
    "empty": "blank",
    "unknown": "unknown",
    "unidentified": "unknown",
}
_NO_NAMES = frozenset(("animal", "insect"))  # words for animals that name none
_TAXON = ("taxonID", "taxonRank", "kingdom", "phylum", "class", "order", "family", "genus", "vernacularNames")


class Taxa:
    """The names that observations use. A project's `taxa` say what a label means; else it is the name itself."""

    def __init__(self, results: Results) -> None:
        self._told: dict[str, Mapping] = results.parameters["project"].get("taxa", {})
        self._by_name = {taxon["scientificName"]: taxon for taxon in self._told.values() if "scientificName" in taxon}
        self._names = Words(results.scratch, "camtrap-names")
        self._classified = Words(results.scratch, "camtrap-labels")

    def type_of(self, label: str) -> str:
        """The kind of observation that a label stands for."""
        told: str | None = self._told.get(label, {}).get("observationType")
        return told or _TYPES.get(label.strip().lower(), "animal")

    def name_of(self, label: str, *, classified: bool) -> str | None:
        """The scientific name, noted for the package's list; None for what has none, as a detector's words."""
        name = self._told.get(label, {}).get("scientificName")
        if not name and (not classified or self.type_of(label) != "animal" or label.strip().lower() in _NO_NAMES):
            return None
        self._names.number(name or label)
        if classified:
            self._classified.number(label)
        return name or label

    def was_classified(self, label: str) -> bool:
        """Whether a label is a classification's, and not only a detector's."""
        return label in self._classified

    def entries(self) -> Iterator[dict[str, Any]]:
        """The package's `taxonomic`: every name that was noted."""
        for _, name in self._names:
            taxon = self._by_name.get(name, {})
            yield {"scientificName": name, **{field: taxon[field] for field in _TAXON if field in taxon}}

    def __enter__(self) -> Taxa:
        return self

    def __exit__(self, *_: object) -> None:
        self._names.close()
        self._classified.close()
