"""What operators do seldom they may do, too, with the rights of the chart."""

from __future__ import annotations

import asyncio

from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.events import Recorder
from millrace_kube.resources import CONFIG_MAPS, EVENTS
from millrace_local.apiserver.process import RunningServer
from tests.operators.harness import Api


async def test_an_event_that_is_told_again_is_counted_up(server: RunningServer, api: Api) -> None:
    about = api.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": api.namespace()}})
    stop = asyncio.Event()
    stop.set()
    async with Client(load(server.kubeconfig)) as client:
        for _ in range(2):
            recorder = Recorder(client, "test")
            recorder.enqueue(about, "Warning", "Odd", "something is odd")
            await recorder.run(stop)
    [event] = api.list(EVENTS, about["metadata"]["namespace"])
    assert event["count"] == 2
