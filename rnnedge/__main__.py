"""`python -m rnnedge` is the command `rnnedge`."""

from rnnedge.cli import main

main()
