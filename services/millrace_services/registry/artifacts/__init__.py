"""Files of runs and logged models: clients send them through this server to one place, a folder or a bucket of S3.

The routes are those of MLflow's artifact proxy, ``mlflow-artifacts:/…`` to its clients.
"""
