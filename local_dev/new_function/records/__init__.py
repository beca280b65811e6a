"""Joins what several stages say about an image."""
