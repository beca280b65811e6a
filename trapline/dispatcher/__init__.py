"""The heart: events and sweeps → tasks → tickets → executor → outcomes → next tasks, gathers, statuses.

What is owed is decided in `trapline.ledger`; what runs inside a worker is `trapline.runtime`.
"""
