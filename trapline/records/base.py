"""What every record is: frozen, with a `type` and a `schema`; how one is read and written."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trapline.errors import TraplineError

SCHEMA = 1


class Frozen(BaseModel):
    """Immutable; unknown fields are kept out unless a subclass says otherwise."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=())


class Record(Frozen):
    """Anything with a `type` and a `schema`."""

    schema_: int = Field(SCHEMA, alias="schema")

    def dump(self) -> bytes:
        """The JSON that is stored."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class SchemaNewer(TraplineError):
    """A record of a newer release; it is never overwritten."""


R = TypeVar("R", bound=Record)


def load(kind: type[R], data: bytes) -> R | None:
    """Read a record; None when it does not parse (after a power loss that counts as absent).

    Raises `SchemaNewer` where a newer release wrote it.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    if isinstance(raw.get("schema"), int) and raw["schema"] > SCHEMA:
        raise SchemaNewer(f"The record has schema {raw['schema']}; this release reads up to {SCHEMA}.")
    try:
        return kind.model_validate(raw)
    except (ValidationError, RecursionError):
        return None
