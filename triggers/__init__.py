"""What starts a pipeline: each module turns one source of events into hints that an object came or went.

A hint may be late, repeated or missing: the sweep finds what was missed. No trigger decides what is owed.
"""
