"""Measures each thing that was found on an image."""
