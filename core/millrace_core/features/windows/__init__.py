"""Aggregates over windows of time: exact sums, functions over windows, and the cells that runs keep for the next ones.

Imports ``history``, ``evaluation``, ``definition`` and ``types``.
"""
