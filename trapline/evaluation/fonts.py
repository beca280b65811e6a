"""Names as the fonts of this machine can show them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

# Those that cover many scripts, where they are installed; DejaVu Sans comes with matplotlib.
_FAMILIES = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Hebrew", "FreeSans", "Unifont",
)  # fmt: skip


def families() -> list[str]:
    """Which of the fonts are here, in the order in which they are asked for a letter."""
    here = {entry.name for entry in font_manager.fontManager.ttflist}
    return [name for name in _FAMILIES if name in here]


def shower(longest: int) -> Callable[[str, int], str]:
    """A function from a name and its number to what can be shown: cut in the middle, `#number` where letters lack.

    `longest` is in letters.
    """
    known = letters()

    def show(name: str, number: int) -> str:
        plain = " ".join(name.split())
        if not plain or any(ord(letter) not in known for letter in plain):
            return f"#{number + 1}"
        return shortened(plain, longest).replace("$", r"\$")

    return show


def spelt(text: str, longest: int) -> str:
    """A text with `?` for each letter that cannot be shown."""
    known = letters()
    plain = "".join(letter if ord(letter) in known else "?" for letter in " ".join(text.split()))
    return shortened(plain, longest).replace("$", r"\$")


@cache
def letters() -> frozenset[int]:
    """The letters that the fonts here have."""
    return frozenset(code for name in families() for code in FT2Font(font_manager.findfont(name)).get_charmap())


def shortened(name: str, longest: int) -> str:
    """A name of at most so many letters: its beginning and its end, which tell kinds of one genus apart."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return name[: longest - 1 - tail].rstrip() + "…" + name[-tail:].lstrip()
