"""The body of a message: a type, a time and what there is to know, in the manner of Standard Webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from functions.notify.item import Item
from trapline.records import Summary, codes_in_words


def message(item: Item, now: datetime) -> dict[str, Any]:
    """What a client is sent. Of a revision it is the same at every attempt, but for links that are presigned."""
    made = item.summary.at if item.summary else None
    return {"type": kind(item), "timestamp": (made or now).isoformat(), "data": _data(item)}


def kind(item: Item) -> str:
    """The message's `type`."""
    if item.event == "test":
        return "trapline.test"
    failed = item.summary is not None and item.summary.state == "FAILED"
    return f"trapline.job.{'failed' if failed else item.event}"


def _data(item: Item) -> dict[str, Any]:
    if item.summary is None:
        return {"job": item.job, **item.news}
    return {"job": item.job, **facts(item.summary), "client": item.summary.client, "links": item.links}


def facts(summary: Summary) -> dict[str, Any]:
    """What became of a job."""
    changes = {"changes": summary.changes.model_dump(exclude={"names"})} if summary.changes else {}
    return {
        "state": summary.state,
        "revision": summary.revision,
        "images": summary.images,
        "failures_by_code": summary.failures_by_code,
        "codes": codes_in_words(summary.failures_by_code),
        "results": summary.results,
        **changes,
    }
