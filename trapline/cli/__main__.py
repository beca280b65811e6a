"""`python -m trapline.cli`: the commands where no `trapline` is on the path."""

from trapline.cli import main

main()
