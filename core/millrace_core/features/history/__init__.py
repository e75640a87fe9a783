"""The rows of a view's source as computations read them, and the entity frame that history is looked up for.

Sources implement ``HistorySource`` (``millrace_data.sources``). Imports ``definition`` and ``types``.
"""
