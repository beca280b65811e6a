"""Fetches what a manifest lists, as a station would have uploaded it."""
