"""What a pod may answer without being left out: an inference server behind Envoy, by the operator's policy."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest

from millrace_operators import resilience
from millrace_operators.routing.desired import route_attempts, traffic_policy
from millrace_services.inference.grpc_messages import MESSAGES, SERVICE
from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig, free_port
from tests.running_service import RunningService, start_service
from tests.services.inference.conftest import counting

__all__ = ["start_service"]

pytestmark = pytest.mark.slow

HOST = "rec.default.svc.cluster.local"
POD = "127.77.0.1"
INFER = "/v2/models/m/infer"
ENDLESS = 1e18
# Far more than eject a pod.
TIMES = 20


@pytest.fixture(scope="module")
def server(start_service: Any, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """Joins features of a gateway that is not there; its model counts to the greatest x."""
    found: RunningService = start_service(
        "-m",
        "millrace_services.inference",
        "serve",
        MILLRACE_HOST=POD,
        MILLRACE_MODEL_NAME="m",
        MILLRACE_MODEL_PATH=str(counting(tmp_path_factory.mktemp("model") / "model.onnx")),
        MILLRACE_DEVICE="cpu",
        MILLRACE_GRPC_PORT=str(free_port()),
        MILLRACE_QUEUE_TIMEOUT="20ms",
        MILLRACE_FEATURES=json.dumps({"refs": ["v:x"]}),
        MILLRACE_GATEWAY_URL="http://127.77.0.9:1",
    )
    while httpx.get(f"{found.url}/v2/health/ready").status_code != 200:
        assert found.process.poll() is None, found.log()
    return found


def to_port(number: int) -> dict[str, Any]:
    made = o.destination("rec-arms", "v1")
    made["destination"]["port"] = {"number": number}
    return made


@pytest.fixture
async def meshed(rig: Rig, server: RunningService) -> Rig:
    """The server is the one pod of a service."""
    (told,) = [each for each in server.log_lines() if each["message"] == "listening for gRPC"]
    ports = ({"name": "http", "port": 80}, {"name": "grpc", "port": 8081, "appProtocol": "grpc"})
    endpoints = o.endpoint_slice("rec-arms", {"pod": POD}, port=int(server.url.rpartition(":")[2]))
    endpoints["ports"].append({"name": "grpc", "port": told["port"]})
    attempts = route_attempts(resilience.DEFAULT, resilience.DEFAULT.try_seconds(1), None)
    over_grpc = {"match": [{"headers": {"content-type": {"prefix": "application/grpc"}}}], "route": [to_port(8081)]}
    assert not await rig.apply(
        services=[o.service(name, *ports) for name in ("rec", "rec-arms")],
        endpoint_slices=[endpoints],
        pods=[o.pod("pod", arm="v1")],
        destination_rules=[o.destination_rule("rec-arms", {"v1": {"arm": "v1"}}, **traffic_policy(resilience.DEFAULT))],
        virtual_services=[o.virtual_service("rec", [{**over_grpc, **attempts}, {"route": [to_port(80)], **attempts}])],
    )
    return rig


async def post(rig: Rig, path: str, body: dict[str, Any]) -> tuple[int, str]:
    """Status and reason."""
    async with rig.session.post(rig.url + path, headers={"Host": HOST}, json=body) as response:
        return response.status, (await response.json())["reason"]


def tensor(value: float, **parameters: int) -> dict[str, Any]:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]
    return {"inputs": inputs, "parameters": parameters}


async def over_grpc(rig: Rig, value: float, **parameters: int) -> str:
    """The code of a call."""
    asked = MESSAGES["ModelInferRequest"](model_name="m")
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(value)
    for name, number in parameters.items():
        asked.parameters[name].int64_param = number
    options = [("grpc.default_authority", f"{HOST}:8081"), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(rig.url.removeprefix("http://"), options=options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(asked.SerializeToString(), timeout=60)
        return str((await call.code()).name)


@asynccontextmanager
async def busy(server: RunningService) -> AsyncIterator[None]:
    """The model runs for somebody who came without the mesh."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as other:
        running = asyncio.create_task(other.post(INFER, json=tensor(ENDLESS)))
        two = re.compile(r"^millrace_http_in_flight{.*} 2\.0$", re.MULTILINE)  # the scrape is one
        while not two.search((await other.get("/metrics")).text):
            assert not running.done()
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def ejections(rig: Rig) -> tuple[int, int]:
    """Ejections that were found to be due, and requests that were sent again."""
    due = await rig.counter(r"cluster\..*\.outlier_detection\.ejections_detected_consecutive_gateway_failure")
    return due, await rig.counter(r"cluster\..*\.upstream_rq_retry")


async def test_a_clients_own_deadline_is_no_fault_of_the_pod(meshed: Rig) -> None:
    found = [await post(meshed, INFER, tensor(ENDLESS, timeout=1)) for _ in range(TIMES)]
    assert Counter(found) == {(408, "DeadlineExceeded"): TIMES}
    codes = [await over_grpc(meshed, ENDLESS, timeout=1) for _ in range(TIMES)]
    assert Counter(codes) == {"DEADLINE_EXCEEDED": TIMES}
    assert await ejections(meshed) == (0, 0)


async def test_neither_is_a_turn_that_does_not_come(meshed: Rig, server: RunningService) -> None:
    async with busy(server):
        found = [await post(meshed, INFER, tensor(1)) for _ in range(TIMES)]
        codes = [await over_grpc(meshed, 1) for _ in range(TIMES)]
    assert Counter(found) == {(429, "Overloaded"): TIMES}
    assert Counter(codes) == {"RESOURCE_EXHAUSTED": TIMES}
    assert await ejections(meshed) == (0, 0)


async def test_neither_are_features_that_do_not_come_and_nobody_asks_for_them_again(meshed: Rig) -> None:
    found = [await post(meshed, "/predict", {"entities": {"u": [1]}}) for _ in range(TIMES)]
    assert Counter(found) == {(424, "FailedDependency"): TIMES}
    assert await ejections(meshed) == (0, 0)
