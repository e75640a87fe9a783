"""What every HTTP service of Millrace shares: errors, health, metrics, logs, traces, and the server's life.

A service is built like this and started by its ``__main__``::

    def build(settings: MySettings) -> Service:
        service = Service("millrace gateway", settings, lifespan=store.opened)
        service.health.add("store", store.check)
        service.hot("POST", "/get-online-features", handler)   # async (hot.Call) -> hot.Answer
        service.api.include_router(routes)                     # FastAPI
        return service

    sys.exit(server.main(MySettings, build))
"""
