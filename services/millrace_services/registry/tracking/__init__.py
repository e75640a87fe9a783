"""Experiments, runs with what they log, and logged models, as MLflow's clients write and search them.

Each command is one transaction, or shares one with others that are as small (``grouped_writes``). What is stored is in
``tracking_tables``.
"""
