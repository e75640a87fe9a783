"""SQL expressions of definitions: parsed, checked to be pure, typed and written anew. Evaluation is another room.

Imports ``types``, ``api`` and ``base``.
"""
