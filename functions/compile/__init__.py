"""Compiles a job's records into files that people and programs read."""
