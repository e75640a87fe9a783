"""A client of the mesh: requests by Host header, as pods and people send them."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self

import grpc
import httpx

INFER = {"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


class ServiceClient:
    """One service of the cluster, as clients see it."""

    def __init__(self, ingress: str, service: str, namespace: str) -> None:
        self.name = service
        self.host = f"{service}.{namespace}.svc.cluster.local"
        self._client = httpx.Client(base_url=ingress, timeout=15, trust_env=False)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self._client.post(path, json=body, headers={"host": self.host, **headers})

    def infer(self, **headers: str) -> httpx.Response:
        """One inference of ``features = [[1, 2]]``."""
        return self.post(f"/v2/models/{self.name}/infer", INFER, **headers)

    def output(self, **headers: str) -> float:
        """The model's answer to ``features = [[1, 2]]``."""
        answer = self.infer(**headers)
        assert answer.status_code == 200, answer.text
        return float(answer.json()["outputs"][0]["data"][0])

    def served_by(self, requests: int, **headers: str) -> Counter[str]:
        """Which deployment answered how many of ``requests``; every one must succeed."""
        found: Counter[str] = Counter()
        for _ in range(requests):
            answer = self.infer(**headers)
            assert answer.status_code == 200, answer.text
            found[answer.headers["x-millrace-deployment"]] += 1
        return found


class GrpcClient:
    """The same service over gRPC: by its port of gRPC, or by that of HTTP, since the route tells one from the other."""

    def __init__(self, ingress: str, service: ServiceClient, port: int) -> None:
        host = httpx.URL(ingress)
        options = [("grpc.default_authority", f"{service.host}:{port}"), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(f"{host.host}:{host.port}", options=options)
        self._infer = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        # {model_name (1), inputs (5): {name (1), datatype (2), shape (3), contents (5): {fp32_contents (6)}}}
        name = service.name.encode()
        tensor = b"\x0a\x08features\x12\x04FP32\x1a\x02\x01\x02\x2a\x0a\x32\x08" + struct.pack("<2f", 1, 2)
        self._request = b"\x0a%c%b\x2a%c%b" % (len(name), name, len(tensor), tensor)

    def served_by(self, requests: int, **headers: str) -> Counter[str]:
        """Which deployment answered how many of ``requests``; every one must succeed."""
        found: Counter[str] = Counter()
        for _ in range(requests):
            _, call = self._infer.with_call(self._request, timeout=15, metadata=list(headers.items()))
            found[dict(call.trailing_metadata())["x-millrace-deployment"]] += 1
        return found

    def close(self) -> None:
        self._channel.close()


class BackgroundLoad:
    """Requests from one thread, inside the ``with`` block.

    Args:
        pause: seconds from an answer to the next request; without any it takes a core from what is waited for.
    """

    def __init__(self, service: ServiceClient, pause: float = 0.005) -> None:
        self._service = service
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: Counter[float] = Counter()
        self.failures: list[str] = []

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                answer = self._service.infer()
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answers[answer.json()["outputs"][0]["data"][0]] += 1
            else:
                self.failures.append(f"{answer.status_code} {answer.text}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
