"""Whether the store has a view, for the operator, which has no way to the store."""

from __future__ import annotations

import httpx

from millrace_core.features.online import keys
from tests.running_service import RunningService
from tests.services.gateway.conftest import Store


def test_the_watermark_is_what_the_store_has_and_null_once_it_was_emptied(
    gateway: RunningService, store: Store
) -> None:
    url = f"{gateway.url}/v1/feature-views/shop/stats/online"
    store.client.hset(keys.meta("shop", "stats"), keys.META_WATERMARK, b"1795604382000000")
    assert httpx.get(url, timeout=60).json() == {"watermark": "2026-11-25T10:59:42Z"}
    store.client.flushall()
    assert httpx.get(url, timeout=60).json() == {"watermark": None}
