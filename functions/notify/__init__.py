"""Tells a job's client that a revision of its results is there."""
