"""Kubernetes: the one family of client, informer, queue, lease and Events, below the operators and the embedded mode.

Data flows in a circle. ``connection`` says where the API server is; ``client`` sends requests and opens watches, and
raises what ``errors`` has for each status. ``informer`` lists and watches and keeps each ``store`` true (of the kinds
that users write kopf does that, behind ``kopf_streams``); listeners of stores put keys into a ``queue``, whose ``loop``
reconciles them, again after a back-off where they failed. A reconcile reads stores, decides, and writes through the
client; the answer goes into the store at once, so that the next one knows of it. Around this: ``lease`` (one process
writes), ``events`` (for ``kubectl describe``), ``compare`` (what differs), ``metrics``, ``stopping``; pure readings of
Kubernetes' forms are ``resources``, ``owners``, ``conditions``, ``selectors``, ``quantities``, ``times``. On top the
operators have ``runtime`` (all of it in one process), ``cached_client`` (reads the ``cache``, writes what differs),
``writes`` (a turn's writes as plain values, and the loop that carries them out) and ``watched``; the embedded mode has
its planners.

How an operator's controller is written on it (``handlers.py`` of each operator)::

    def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
        async def reconcile(key: Key) -> Requeue | None:
            observed = gather(cluster.cache, key)           # reads: cache.get, cache.select
            if observed is None:
                return None                                 # gone: nothing to do
            plan = plan_of(observed, cluster.now())         # pure
            refused = await carry_out(cluster, writes(plan), partial(report, plan))  # writes only what differs
            return Requeue(plan.next_look) if plan.next_look else None

        return [Controller("FeatureView", reconcile, {FEATURE_VIEWS: itself, JOBS: by_label(names.VIEW)})]

A reconcile may raise: ``RetryError`` (the work queue tries again, after ``delay`` at the earliest) or any other error
(tried again with the same back-off). It must be idempotent, because it may end at any line.
"""
