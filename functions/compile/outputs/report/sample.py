"""A sample that is the same each time: of all that is offered, those whose hash is least."""

from __future__ import annotations

import hashlib
import heapq
from typing import Generic, TypeVar

T = TypeVar("T")
_BITS = 64
_STEP = 0x9E3779B97F4A7C15  # 2 to the 64th over the golden ratio: sets the things of one image apart


def lot(rel: str, number: int = 0) -> int:
    """An image's lot, or that of one of its things: as good as drawn, and the same in every run."""
    digest = hashlib.blake2b(rel.encode("utf-8", "surrogatepass"), digest_size=_BITS // 8).digest()
    return (int.from_bytes(digest, "big") ^ (number * _STEP)) & ((1 << _BITS) - 1)


class Sample(Generic[T]):
    """At most `most` of what was offered, each as likely as any other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, int, T]] = []  # the greatest lot first, as its negative
        self.offered = 0

    def offer(self, lot: int, what: T) -> None:
        self.offered += 1
        entry = (-lot, -self.offered, what)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def least(self, most: int) -> list[T]:
        """Those with the least lots, at most `most` of them."""
        return [what for _, _, what in sorted(self._heap, reverse=True)[:most]]
