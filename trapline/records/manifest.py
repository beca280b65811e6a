"""A job's manifest, as a client writes it, and how one is read."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from trapline.errors import ManifestError
from trapline.records.base import Frozen
from trapline.records.deployments import by_identity, referred
from trapline.records.events import USUAL, Event
from trapline.wellformed import check_values, first_problem

Format = Literal["standard", "antenna"]
SECRET_PREFIX = "whsec_"  # of a token that signs
LEAST_LINKS, MOST_LINKS = timedelta(minutes=1), timedelta(days=7)  # what a presigned link can be good for


class Listed(Frozen):
    """One entry of a manifest's `sourceImages`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    id: str = Field(min_length=1, max_length=512)
    url: str = Field(min_length=1, max_length=4096)
    eventId: str | None = Field(None, max_length=512)


class StageChoice(Frozen):
    """One entry of a manifest's `pipelineConfig.stages`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    stage: str  # a stage's type, such as OBJECT_DETECTION
    stageImplementation: str | None = None  # a function's name
    parameters: dict[str, Any] = {}


class PipelineConfig(Frozen):
    """A manifest's wishes about the stages."""

    model_config = ConfigDict(frozen=True, extra="allow")
    stages: tuple[StageChoice, ...] = ()


class Callback(Frozen):
    """Whom to tell, of what, how. The token never leaves the manifest and the request it signs."""

    model_config = ConfigDict(frozen=True, extra="allow")
    callbackUrl: str = Field(max_length=4096)
    callbackToken: str = Field("", repr=False, max_length=4096)
    on: tuple[Event, ...] = USUAL
    format: Format | None = None  # None: what the manifest's own form asks for
    links: timedelta | None = Field(None, ge=LEAST_LINKS, le=MOST_LINKS)  # presigned https links, good for so long

    @field_validator("callbackToken")
    @classmethod
    def _can_sign(cls, token: str) -> str:
        """Known with the manifest, not at the first message, which is days later."""
        if token.startswith(SECRET_PREFIX) and not _is_secret(token.removeprefix(SECRET_PREFIX)):
            raise ValueError(f"what follows {SECRET_PREFIX} is not base64; give 24 to 64 bytes, without - and _")
        return token

    @property
    def signs(self) -> bool:
        """Whether the token is a secret that signs, and is never sent."""
        return self.callbackToken.startswith(SECRET_PREFIX)


def _is_secret(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except ValueError:
        return False


class Manifest(Frozen):
    """`jobs/<job>.json`: a list of images and what to do with them (the pipeline-controller's field names)."""

    model_config = ConfigDict(frozen=True, extra="allow")
    projectId: str = Field("", max_length=512)
    jobId: str = Field("", max_length=512)
    priority: int = Field(0, ge=-1000, le=1000)
    deadline: timedelta | None = Field(None, gt=timedelta(0), le=timedelta(days=3650))
    sourceImages: tuple[Listed, ...] = Field(min_length=1)
    pipelineConfig: PipelineConfig | None = None
    outputs: tuple[str, ...] | None = Field(None, max_length=100)  # the formats of this job's results
    deployment: dict[str, Any] = {}
    callback: Callback | None = None

    @model_validator(mode="after")
    def _places_are_there(self) -> Self:
        """A misspelt place would publish another one's coordinates."""
        places = by_identity((self.model_extra or {}).get("deployments"))
        for number, image in enumerate(self.sourceImages if places else ()):
            name = referred(image.model_extra or {})
            if name and name not in places:
                known = ", ".join(sorted(places)[:3])
                raise ValueError(
                    f"sourceImages[{number}] names deployment {name[:60]!r}; `deployments` has {known[:200]}"
                )
        return self

    @property
    def client(self) -> dict[str, str]:
        """What the client calls the job, as far as it says."""
        said = {"projectId": self.projectId, "jobId": self.jobId}
        return {name: value for name, value in said.items() if value}

    @property
    def told_as(self) -> Format:
        """The form of the callback's body: the pipeline-controller's where the manifest is of its form."""
        if self.callback is None or self.callback.format is not None:
            return (self.callback and self.callback.format) or "standard"
        token = bool(self.callback.callbackToken) and not self.callback.signs
        return "antenna" if self.projectId and self.jobId and self.pipelineConfig and token else "standard"


MANIFEST_BYTES = 64 * 2**20

MANIFEST_DEPTH = 32  # objects and lists inside each other


def read_manifest(data: bytes, where: str) -> Manifest:
    """Parse a manifest. Raises `ManifestError` with one line that names the place."""
    if len(data) > MANIFEST_BYTES:
        raise ManifestError(f"{where} has {len(data)} bytes.", remedy=f"A manifest may have {MANIFEST_BYTES}.")
    try:
        raw = json.loads(data)
        check_values(raw, MANIFEST_DEPTH)
        return Manifest.model_validate(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where} is not a job manifest: {first_problem(error)}.", remedy=_MANIFEST_HINT) from None


def read_sender(data: bytes) -> Manifest:
    """Of a manifest that is refused: who sent it, and whom to tell. Whatever else is in it, and wrong, is left out."""
    try:
        raw = json.loads(data if len(data) <= MANIFEST_BYTES else b"{}")
    except (ValueError, RecursionError):
        raw = {}
    raw = raw if isinstance(raw, dict) else {}
    project, job = (raw[name] if isinstance(raw.get(name), str) else "" for name in ("projectId", "jobId"))
    return Manifest.model_construct(
        projectId=project,
        jobId=job,
        sourceImages=(),
        pipelineConfig=PipelineConfig() if raw.get("pipelineConfig") else None,
        callback=_callback(raw.get("callback")),
    )


def _callback(raw: Any) -> Callback | None:
    """What of a callback can be used; None where its address or its token cannot."""
    said = {name: raw[name] for name in Callback.model_fields if name in raw} if isinstance(raw, dict) else {}
    for _ in range(2):  # all that is wrong is named at once
        try:
            check_values(said, MANIFEST_DEPTH)
            return Callback.model_validate(said)
        except ValidationError as error:
            wrong = {place["loc"][0] for place in error.errors(include_url=False)}
            said = {} if wrong & _WHOM else {name: value for name, value in said.items() if name not in wrong}
        except (ValueError, RecursionError):
            return None
    return None


_WHOM = {"callbackUrl", "callbackToken"}
_MANIFEST_HINT = (
    'Expected JSON like {"sourceImages": [{"id": "1", "url": "https://…/a.jpg"}]}; see docs/reference/manifest.md.'
)
