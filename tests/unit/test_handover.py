"""Events between a trigger's thread and the engine's loop: none is lost, they keep their order, many wake it seldom."""

from __future__ import annotations

import asyncio
import threading

from trapline.cli.handover import Handover
from trapline.events import ObjectEvent


class Turns:
    """What the loop took, and in how many turns."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.turns = 0
        self._told = False

    def take(self, event: ObjectEvent) -> None:
        self.keys.append(event.key)
        if not self._told:
            self._told = True
            self.turns += 1
            asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        self._told = False


def event(number: int) -> ObjectEvent:
    return ObjectEvent(f"incoming/{number}.jpg", "created", "webhook")


def test_events_of_several_threads_all_come_in_few_turns() -> None:
    asyncio.run(_several_threads())


async def _several_threads() -> None:
    turns = Turns()
    handover = Handover(asyncio.get_running_loop(), turns.take)

    def hand(first: int) -> None:
        for number in range(first, first + 1000):
            handover.hand(event(number))

    threads = [threading.Thread(target=hand, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    while len(turns.keys) < 3000:
        await asyncio.sleep(0.001)
    for first in (0, 1000, 2000):
        mine = [key for key in turns.keys if first <= int(key[9:-4]) < first + 1000]
        assert mine == [event(number).key for number in range(first, first + 1000)]
    assert turns.turns < 300


def test_an_event_after_a_pause_is_taken_at_once() -> None:
    asyncio.run(_after_pauses())


async def _after_pauses() -> None:
    turns = Turns()
    handover = Handover(asyncio.get_running_loop(), turns.take)
    for number in range(3):
        handover.hand(event(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(turns.keys) == number + 1
        await asyncio.sleep(0.05)


def test_events_after_the_end_of_the_loop_are_let_go() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    handover = Handover(loop, lambda event: None)
    handover.hand(event(1))
    handover.hand(event(2))
