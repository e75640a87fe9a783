"""Features, from a definition to values: pure computation on Arrow columns, numpy arrays and DuckDB.

Each room may import those before it: ``types``, ``expressions``, ``definition``, ``evaluation``, ``history``, then
``windows`` and ``online``, which do not know each other, and ``offline``. No room opens a file or a connection: rows
come from a ``history.HistorySource`` that the caller opened.

Words, one for each thing in all packages:

- *definition*: a compiled FeatureView. Its *schema hash* covers what decides a stored row.
- *row*: what a source says of one entity at one *event time*; the *created time* is when it was written.
- *moment*: a time as of which features are wanted, of an entity frame or of a read.
- *visible*: a row is visible at T when ``T - ttl <= event time <= T``.
- *time range*: the event times that are read from a source, both ends inclusive.
- *interval*: the event times that a run covers, after its start up to and including its end.
- *window*: the events that an aggregate goes over. It ends on the view's *grid*; a *cell* is one step of the grid.
- *snapshot*: the stored row of a view with aggregates, as of the end of a run.
- *stored*, *on demand*, *row-bound*: when an expression is evaluated, and whether it needs a visible row
  (``expressions/compiled.py``).
- *shard*: the entities of a view that one of several processes of a run takes.
"""
