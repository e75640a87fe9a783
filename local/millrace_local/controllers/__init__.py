"""The controllers of the embedded mode, as far as Millrace's objects need them.

Each kind has a pure planner, from what the stores hold to an ``ActionPlan``, and a few lines of wiring that say which
changes make an object worth planning again; ``loop`` runs them all. They behave as Kubernetes' own controllers
of the same kinds do, and say so where they do less:

- Deployment, ReplicaSet, Job, CronJob: whole, but for ``Job.spec.backoffLimitPerIndex`` and ``successPolicy`` (a Job
  that sets one gets the Warning event ``NotSupported``).
- Scheduler: resources, ``nodeSelector``, required node affinity, taints; no pod affinity, topology spread, preemption.
- Service: EndpointSlices and Endpoints of IPv4 addresses; a Service without a selector is left to its author.
- ScaledObject: Prometheus triggers, asked of the pods' own metrics where there is no Prometheus.
- HorizontalPodAutoscaler: kept, not acted on: there is no metrics server.
"""
