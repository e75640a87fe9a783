"""The API types of the three kinds, their CRDs, their loading, and the names and conditions that they share.

The pydantic models here are the only source of the CRDs (``make generate``). Imports ``base``.
"""
