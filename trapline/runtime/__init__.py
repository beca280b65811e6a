"""One function × one batch → outcomes, with the records committed. Runs inside every worker, whatever its kind.

What is owed, and who runs what, is not here.
"""
