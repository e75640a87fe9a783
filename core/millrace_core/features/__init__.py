"""Features, from a definition to values: pure computation on Arrow columns, numpy arrays and DuckDB.

Each room may import those before it: ``types``, ``expressions``, ``definition``, ``evaluation``, ``history``, then
``windows`` and ``online``, which do not know each other, and ``offline``. No room opens a file or a connection: rows
come from a ``history.HistorySource`` that the caller opened.
"""
