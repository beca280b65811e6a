"""Keeps a vector of what each detection looks like."""
