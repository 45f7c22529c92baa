"""What `tp35 update` promises, tried from outside; `python -m tests.updates` runs it.

The command is run as users run it, on projects of a small template with two versions, and of the
real one. What it leaves behind is compared byte by byte with what it should.
"""
