"""Measures how sharp an image is."""
