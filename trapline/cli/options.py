"""The options that several commands share, and what `--help` says about them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from trapline.cli.place import Place, find_place

T = TypeVar("T")

Project = Annotated[
    Path, typer.Option("--project", help="The folder with pipeline.yaml.", show_default="the current folder")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="The folder in which the embedded store keeps its buckets.",
        show_default="$TRAPLINE_DATA, or trapline-data",
    ),
]
Bucket = Annotated[
    str | None,
    typer.Option("--bucket", help="The bucket's name.", show_default="$TRAPLINE_BUCKET, or that in pipeline.yaml"),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="The address of an S3 store that runs already; its keys come from the usual AWS_* variables.",
        show_default="$AWS_ENDPOINT_URL, or the embedded store",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]


@dataclass(frozen=True)
class Where:
    """Where a command works, as typed: each field is an option of every command that is `located`."""

    project: Project = Path()
    data: Data = None
    bucket: Bucket = None
    endpoint: Endpoint = None

    def place(self) -> Place:
        """The project and its bucket. Raises `ConfigError` where there is none."""
        return find_place(self.project, self.data, self.bucket, self.endpoint)


HERE = Where()


def located(command: Callable[..., T]) -> Callable[..., T]:
    """The command with its parameter `where` taken apart into the options that say it."""
    signature = inspect.signature(command, eval_str=True)
    options = inspect.signature(Where, eval_str=True).parameters

    @functools.wraps(command)
    def typed(**given: Any) -> T:
        where = Where(**{name: given.pop(name) for name in options})
        return command(where=where, **given)

    parameters = [new for old in signature.parameters.values() for new in _apart(old, list(options.values()))]
    typed.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    typed.__annotations__ = {new.name: new.annotation for new in parameters}
    return typed


def _apart(parameter: inspect.Parameter, options: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return options if parameter.name == "where" else [parameter]
