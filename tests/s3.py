"""An S3 server for tests. Its state belongs to the process, so each begins by forgetting what earlier ones held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server without buckets."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.post(f"{url}/moto-api/reset").raise_for_status()
    try:
        yield url
    finally:
        server.stop()


def s3_bucket(url: str, name: str) -> Any:
    """A client of a server that takes any keys, in which there is a new bucket."""
    client: Any = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="me", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket=name)
    return client
