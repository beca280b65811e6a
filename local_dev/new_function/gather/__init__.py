"""Compiles a job into a table."""
