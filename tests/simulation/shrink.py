"""A failing plan, made as small as it can be while it still breaks the same promise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.simulation.plan import Life, Plan, Step

_PLAIN: dict[str, tuple[Any, ...]] = {
    "store": (0.0,),
    "slow": (0.0,),
    "workers": (0.0,),
    "functions": (0.0,),
    "late": (0.0,),
    "cursed": (0,),
    "zombies": (False,),
    "jumps": ((),),
    "mirrored": (False,),
    "lost": (0.0, 1.0),
    "etags": ("unique",),
    "times": ("true",),
    "tracked": (1000,),
    "keep": (20,),
    "slots": (1,),
}  # what a world without trouble has

Fails = Callable[[Plan], bool]


def shrink(plan: Plan, fails: Fails, seconds: float = 60.0) -> Plan:
    """Try smaller plans until none fails, or the time is over. `fails`: whether a plan breaks the same promise."""
    until = time.monotonic() + seconds
    found = True
    while found:
        found = False
        for smaller in _smaller(plan):
            if time.monotonic() > until:
                return plan
            if fails(smaller):
                plan, found = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with one thing less, the largest cuts first."""
    lives = plan.lives
    for n in range(len(lives) - 1):
        yield replace(plan, lives=lives[:n] + lives[n + 1 :])
    for n, life in enumerate(lives):
        for steps in _fewer(life.steps):
            yield _with(plan, n, replace(life, steps=steps))
    yield from _without_trouble(plan)
    for n, life in enumerate(lives):
        for plain in _plainer(life, last=n == len(lives) - 1):
            yield _with(plan, n, plain)


def _with(plan: Plan, n: int, life: Life) -> Plan:
    return replace(plan, lives=(*plan.lives[:n], life, *plan.lives[n + 1 :]))


def _fewer(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Without a half, a quarter, …, a single step."""
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            yield steps[:start] + steps[start + size :]
        size //= 2


def _without_trouble(plan: Plan) -> Iterator[Plan]:
    for name, plain in _PLAIN.items():
        if getattr(plan, name) not in plain:
            yield from (_set(plan, name, value) for value in plain)


def _set(plan: Plan, name: str, value: Any) -> Plan:
    return replace(plan, **{name: value})


def _plainer(life: Life, *, last: bool) -> Iterator[Life]:
    if life.rivals:
        yield replace(life, rivals=0)
    if life.torn:
        yield replace(life, torn=0)
    if life.variant:
        yield replace(life, variant=0)
    if life.end != "clean" and not last:
        yield replace(life, end="clean", kill_at=0)
    if life.pause > 1:
        yield replace(life, pause=1.0)
