"""Finds insects on an image."""
