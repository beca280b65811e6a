"""Where the weights lie in a PyTorch checkpoint. Its pickle is read with stand-ins: no code that it names is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

_DEEPEST = 4  # dicts within dicts
_USUAL = ("model_state_dict", "state_dict", "model", "ema", "network", "net", "weights")


class _Thing:
    """Stands for whatever a pickle makes."""

    def __new__(cls, *_: object, **__: object) -> _Thing:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, *_: object) -> None: ...

    def extend(self, _: object) -> None: ...

    append = add = extend


class _Tensor(_Thing):
    """Stands for weights."""


class _Dict(dict[Any, Any]):
    """An ordered dict; as torch writes them, they have attributes too."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        return _Tensor if module == "torch._utils" and name.startswith("_rebuild") else _Thing

    def persistent_load(self, _: object) -> _Thing:
        return _Thing()


def keys_to_weights(stream: BinaryIO, pickles: int = 1) -> tuple[Any, ...]:
    """The keys that lead to a network's weights, () where they lie at the top. The last of some pickles is read."""
    try:
        for _ in range(pickles):
            held = _Reader(stream).load()
    except Exception:  # noqa: BLE001 - a pickle that makes other things than weights may fail in any way
        return ()
    return _keys(held)


def _keys(held: object) -> tuple[Any, ...]:
    level: list[tuple[tuple[Any, ...], object]] = [((), held)]
    for _ in range(_DEEPEST):
        found = [keys for keys, one in level if isinstance(one, Mapping) and _has_weights(one)]
        if found:
            return min(found, key=_likelihood)
        level = [((*keys, key), inner) for keys, one in level if isinstance(one, Mapping) for key, inner in one.items()]
    return ()


def _has_weights(one: Mapping[Any, object]) -> bool:
    return any(isinstance(value, _Tensor) for value in one.values())


def _likelihood(keys: tuple[Any, ...]) -> int:
    last = keys[-1] if keys else ""
    return _USUAL.index(last) if last in _USUAL else len(_USUAL)
