"""What runs once per event: `python -m bench.event IMAGE RESULT`."""

from __future__ import annotations

import sys

from bench.stages import stages, write

if __name__ == "__main__":
    image, result = sys.argv[1:]
    write(result, stages().run(image))
