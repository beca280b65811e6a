"""The output `parquet`: `observations.parquet`, the rows of `observations.csv` with types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from functions.compile.results import Open, Results
from functions.compile.table import KINDS, rows

ROWS = 10_000  # held in memory at a time, and written as one row group; an image's rows stay together

_TYPES = {"text": pa.string(), "time": pa.timestamp("us", tz="UTC"), "whole": pa.int64(), "real": pa.float64()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in KINDS.items()])


def write(results: Results, open: Open) -> list[str]:
    """Write `observations.parquet`, a group of rows at a time."""
    with (
        open("observations.parquet", content_type="application/vnd.apache.parquet") as stream,
        pq.ParquetWriter(stream, _SCHEMA) as writer,
    ):
        for group in _groups(results):
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*group, strict=True), _SCHEMA, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
    return []


def _groups(results: Results) -> Iterator[list[list[Any]]]:
    """Rows in order, some ten thousand at a time."""
    group: list[list[Any]] = []
    for picture in results.pictures():
        if picture.state != "pending":
            group += rows(picture, results.revision, results.job, results.bursts.event_of(picture.rel))
        if len(group) >= ROWS:
            yield group
            group = []
    if group:
        yield group
