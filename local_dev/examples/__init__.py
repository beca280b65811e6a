"""Pipelines to learn from, one folder each: what it changes of the sample project. Nothing imports them."""
