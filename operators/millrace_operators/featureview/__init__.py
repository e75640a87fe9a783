"""The FeatureView operator: makes a view's CronJob and Jobs, and its status from what the Jobs report.

One turn goes through ``observe``, ``plan`` (with ``next_job``) and ``reconcile``, which writes children and status. A
deleted view goes through ``deletion`` and ``purge`` instead. Imports ``kube`` and ``core``, and no other operator.
"""
