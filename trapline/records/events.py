"""What is told of a job, and to whom."""

from __future__ import annotations

from typing import Literal

Event = Literal["opened", "progress", "completed", "updated"]
Told = Literal["opened", "progress", "completed", "updated", "failed"]  # failed: a manifest that was refused
Audience = Literal["client", "people"]

USUAL: tuple[Event, ...] = ("completed", "updated")  # told unless `on` says otherwise; these leave receipts
NEWS: tuple[Event, ...] = ("opened", "progress")  # best effort
