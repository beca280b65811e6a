"""What is owed, running, done, failed and blocked; per job counts and closing.

Pure: no I/O, no clock, no threads, no randomness; times are handed in as seconds of a monotonic clock.
How owed work is run, and how anything is read or written, is not here.
"""
