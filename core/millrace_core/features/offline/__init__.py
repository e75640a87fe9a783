"""Training sets, what materialization writes, quality checks of its rows, and the comparison of online with offline.

Imports all other rooms of features.
"""
