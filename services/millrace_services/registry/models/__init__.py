"""The registry of models: registered models, their versions, aliases, stages and tags, and who changed which when.

Its REST is MLflow's, which ``rest`` translates; what is stored is in ``tables``, and each command is one transaction.
"""
