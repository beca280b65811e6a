"""Which clients did not take the last call: further messages to them wait apart, out of the other clients' way."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TOGETHER = 2  # first calls of one address under way at a time: what comes of them tells of the rest
REMEMBERED = 10_000  # addresses that failed


@dataclass
class Receivers:
    """By address, without what may be a secret in its query."""

    _failing: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _turns: dict[str, tuple[asyncio.Semaphore, int]] = field(default_factory=dict)  # … and how many hold or want it

    def failing(self, address: str) -> bool:
        """Whether the last call to it failed."""
        return address in self._failing

    def note(self, address: str, *, told: bool) -> None:
        """What came of a call."""
        self._failing.pop(address, None)
        if address and not told:
            self._failing[address] = None
            if len(self._failing) > REMEMBERED:
                self._failing.popitem(last=False)

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for one's turn to call an address; there are none where it is empty, or known to fail."""
        if not address or self.failing(address):
            yield
            return
        turns, wanted = self._turns.get(address, (asyncio.Semaphore(TOGETHER), 0))
        self._turns[address] = turns, wanted + 1
        try:
            async with turns:
                yield
        finally:
            self._left(address)

    def _left(self, address: str) -> None:
        turns, wanted = self._turns.pop(address)
        if wanted > 1:
            self._turns[address] = turns, wanted - 1


def address_of(url: str) -> str:
    """A callback's address without its query and fragment."""
    return url.partition("#")[0].partition("?")[0]
