"""Times as Camtrap DP writes them: to the second, with an offset of whole minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from functions.compile.picture import zone


def written(when: datetime, timezone: str | None) -> str:
    """A moment by the clocks of a place; in UTC where nobody says which, or where clocks were set to the second.

    A time without an offset is read as UTC.
    """
    known = when if when.tzinfo else when.replace(tzinfo=UTC)
    try:
        local = known.astimezone(zone(timezone) or UTC)
    except OverflowError:  # at the calendar's very ends
        local = known
    if (local.utcoffset() or timedelta()) % timedelta(minutes=1):
        local = local.astimezone(UTC)
    return local.isoformat(timespec="seconds")
