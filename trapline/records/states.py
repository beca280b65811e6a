"""The states of a stage, of a member and of a job."""

from __future__ import annotations

from typing import Literal

StageState = Literal["unknown", "pending", "owed", "running", "done", "skipped", "failed", "blocked"]

MemberState = Literal["done", "skipped", "failed", "blocked", "pending"]

JobState = Literal["WAITING", "PROCESSING", "SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED"]

FINAL_STATES = frozenset(("SUCCEEDED", "PARTIAL", "FAILED"))
