"""How experiments are planned and judged: pure functions over ``millrace_core.stats``.

``planning`` says how many units an experiment needs; ``judging`` what its units so far come to. Both know the metric by
``metric``: its kind, and the sufficient statistics of an arm.
"""
