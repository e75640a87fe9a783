"""The online store's formats (keys, rows, URLs) and what a read or a push means: writers, gateway, SDK and inference
share it, and none of it talks to a store.

Imports ``history``, ``evaluation``, ``expressions``, ``definition`` and ``types``.
"""
