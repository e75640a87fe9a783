"""Expressions, evaluated by DuckDB, and the engine that sorts and spills for the rooms above.

Imports ``definition``, ``expressions`` and ``types``.
"""
