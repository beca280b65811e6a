"""The options that several commands share, and what `--help` says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
