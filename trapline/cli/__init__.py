"""`trapline …`: what a person types. Commands speak to an engine through the bucket alone.

Nothing is decided here about images or jobs.
"""

from __future__ import annotations


def main() -> None:
    """The console script."""
    from trapline.cli.app import run  # noqa: PLC0415 - `import trapline.cli` stays cheap

    run()
