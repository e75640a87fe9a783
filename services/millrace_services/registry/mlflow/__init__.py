"""What every answer to a client of MLflow has in common: fields, errors, filters, pages and routes.

The form is that of https://mlflow.org/docs/latest/rest-api.html, as MLflow's own clients and server speak it.
"""
