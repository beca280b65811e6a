"""Prints docs/reference/failure-codes.md from `trapline.errors.CODES`."""

from trapline.errors import CODES

_HEAD = """# Failure codes

A failure's code stands in its dead letter (`failed/<stage>/<rel>.json`), in the job's status, summary and results, in
what the client is told, and in `trapline explain`, everywhere with these words: `meaning`, and `remedy` for what to do.
Beside them, `message` says what happened to this one; a function may give a remedy of its own. *Tried again* says
whether the engine tries again by itself, as the stage's `delivery` allows, before it gives up. To try once more
afterwards, delete the dead letter or run `trapline retry`.

This page is printed by `python -m local_dev.failure_codes`.

| code | meaning | tried again | what to do |
|---|---|---|---|
"""


def page() -> str:
    """The page, as Markdown."""
    rows = (
        f"| `{name}` | {code.meaning} | {'yes' if code.retried else 'no'} | {code.remedy} |\n"
        for name, code in sorted(CODES.items())
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
