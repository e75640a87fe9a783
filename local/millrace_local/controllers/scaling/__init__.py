"""ScaledObjects: replicas by what Prometheus says, where there is a Prometheus.

As KEDA and the HorizontalPodAutoscaler under it decide: ``ceil(value / threshold)`` within bounds, a tolerance of 10%,
up at once, down only to the largest number wanted within the stabilization window, to zero after the cool-down.
"""
