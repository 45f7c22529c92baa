"""`python -m tp35` is the command `tp35`."""

from tp35.cli import main

main()
