"""`trapline …`: what a person types. Commands speak to an engine through the bucket alone.

Nothing is decided here about images or jobs.
"""

from __future__ import annotations

import sys

sys.setrecursionlimit(5_000)  # `os.walk` recurses in Python 3.11; a path of 4,096 bytes is 2,048 folders deep


def main() -> None:
    """The console script."""
    from trapline.cli import interrupt  # noqa: PLC0415 - `import trapline.cli` stays cheap

    interrupt.listen()
    try:
        from trapline.cli.app import run  # noqa: PLC0415 - Ctrl-C is heard while the rest is imported

        run()
    except interrupt.Interrupted:
        interrupt.leave()
