"""Feature views, compiled: join keys, features, aggregates, quality checks; and what a change of a view means.

Imports ``expressions`` and ``types``.
"""
