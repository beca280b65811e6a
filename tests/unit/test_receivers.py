"""Whose turn it is to call an address, and which addresses are known to fail; in simulated time."""

from __future__ import annotations

import asyncio

from trapline.dispatcher.receivers import TOGETHER, Receivers, address_of
from trapline.testing import SimulatedLoop


def test_what_waits_for_an_address_that_turns_out_to_fail_waits_no_longer_among_those_that_answer() -> None:
    async def scenario() -> list[bool]:
        receivers, apart = Receivers(), list[bool]()

        async def call() -> None:
            async with receivers.turn("https://a/"):
                apart.append(receivers.failing("https://a/"))
                await asyncio.sleep(0 if apart[-1] else 5)
                receivers.note("https://a/", told=False)

        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(call() for _ in range(40)))
        assert asyncio.get_running_loop().time() - began < 6
        assert not receivers._turns
        return apart

    loop = SimulatedLoop()
    try:
        assert loop.run_until_complete(scenario()) == [False] * TOGETHER + [True] * (40 - TOGETHER)
    finally:
        loop.close()


def test_an_address_that_answers_again_is_as_any_other() -> None:
    receivers = Receivers()
    receivers.note("https://a/", told=False)
    assert receivers.failing("https://a/") and not receivers.failing("https://b/")
    receivers.note("https://a/", told=True)
    assert not receivers.failing("https://a/")


def test_a_query_may_be_a_secret_and_does_not_make_another_address() -> None:
    assert address_of("https://a/told?token=x#y") == "https://a/told"
