"""`python -m tp35` is the command `tp35`."""

from tp35.cli import main

if __name__ == "__main__":  # and not in the processes that an update starts
    main()
