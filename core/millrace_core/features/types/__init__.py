"""Types of features: how values of each stand in Arrow, how columns are made exactly of a type, times, content ids.

Imports ``api`` and ``base`` only.
"""
