"""ScaledObjects: replicas by what Prometheus says, or by what the pods say where there is no Prometheus.

As KEDA and the HorizontalPodAutoscaler under it decide: ``ceil(value / threshold)`` within bounds, a tolerance of 10%,
the windows and policies of ``behavior``, to zero after the cool-down. HorizontalPodAutoscalers themselves are kept and
not acted on.
"""
