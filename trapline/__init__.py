"""Trapline: an event-triggered image pipeline in any S3-compatible bucket.

The rooms are described in docs/explanation/architecture.md; nothing is imported here, so that a function
container pays only for what it uses.
"""

__version__ = "0.1.0"
