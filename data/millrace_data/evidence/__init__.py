"""The evidence lake: how records reach it, how its files are merged and deleted, how they are read.

``spool`` keeps rows on the pod's own volume, ``shipping`` brings them from there to the ``lake``, ``writer`` is what a
process logs to; ``merging`` has the lake's small files become few and its old ones go, ``reading`` gives them back.
"""
