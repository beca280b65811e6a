"""Keeps a picture of each detection, and a small one of the whole image."""
