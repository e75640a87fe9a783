"""The operators' way to Kubernetes.

How a controller is written on it (``handlers.py`` of each operator)::

    def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
        async def reconcile(key: Key) -> Requeue | None:
            observed = gather(cluster.cache, key)           # reads: cache.get, cache.select
            if observed is None:
                return None                                 # gone: nothing to do
            plan = plan_of(observed, cluster.now())         # pure
            for child in plan.children:
                await cluster.apply(child)                  # writes only what differs
            await cluster.write_status(observed.object, plan.status)
            return Requeue(plan.next_look) if plan.next_look else None

        return [Controller("FeatureView", reconcile, {FEATURE_VIEWS: itself, JOBS: by_label(names.VIEW)})]

A reconcile may raise: ``RetryError`` (the work queue tries again, after ``delay`` at the earliest) or any other error
(tried again with the same back-off). It must be idempotent, because it may end at any line.
Modules: ``resources`` (kinds) · ``client`` (requests) · ``cache`` (what is known) · ``compare`` (is it already so) ·
``cached_client`` (writes) · ``events`` · ``queue`` and ``runtime`` (when to reconcile) ·
``handlers`` (kopf's watches) ·
``sightings`` (what they missed) · ``lease`` (one at a time) · ``platform`` (what children need to know) ·
``connection`` · ``metrics`` · ``errors``.
"""
