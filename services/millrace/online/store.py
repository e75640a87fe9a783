"""The online store as jobs and the SDK see it: connections, and what is known of a view beside its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from millrace.base.errors import MillraceError, RejectError, ReportError, RetryError
from millrace.features import keys
from millrace.features.definition import Definition
from millrace.features.row import Layout

TIMEOUT_SECONDS: Final = 10.0

# Keys looked at per step of a scan; a step takes the server about a millisecond.
_SCAN: Final = 2_000
# A view's keys are counted in stores of up to so many keys; in larger ones they are estimated from a sample, because
# every run of every view counts.
_COUNTED: Final = 200_000
_SAMPLE: Final = 50_000

# Sets the watermark where it is later than the present one or the present one is of another schema.
_ADVANCE: Final = """
local schema, present = unpack(redis.call('HMGET', KEYS[1], 'schema', 'watermark'))
if schema ~= ARGV[1] or not present or tonumber(present) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'watermark', ARGV[2])
end
"""


class Store:
    """A Redis or Valkey server.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password where the server asks for them.
        timeout: seconds that one answer may take.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        try:
            # Protocol 2, because its answers are the same from every server since Redis 6.
            self.client = redis.Redis.from_url(
                url, protocol=2, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None
            )
        except ValueError as error:
            raise RejectError(
                f"{_without_password(url)!r} is no URL of an online store: {error}",
                hint="Write it as redis://host:6379/0",
                field="MILLRACE_STORE_URL",
            ) from error
        self.shown = _without_password(url)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns errors of the client into ones that say what to do."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise self.explain(error) from error

    def explain(self, error: Exception) -> MillraceError:
        """What is to be done about an error of the client."""
        said = str(error) or type(error).__name__
        if isinstance(error, AuthenticationError | NoPermissionError):
            return ReportError(
                f"the online store {self.shown} refuses: {said}",
                hint="Check user, password and rights (ACL) in the store's URL",
                reason="StoreDenied",
            )
        if isinstance(error, OutOfMemoryError):
            return ReportError(
                f"the online store {self.shown} is full: {said}",
                hint="Raise its maxmemory, or set a ttl on the views so that old rows expire",
                reason="StoreFull",
            )
        fails = isinstance(error, ResponseError)
        return RetryError(
            f"the online store {self.shown} {'reports a fault' if fails else 'does not answer'}: {said}",
            hint="See its log" if fails else "Check that it is up and reachable",
            reason="StoreUnavailable",
        )

    def run_id(self) -> str:
        """Identity of the server process: another one after a restart or a failover."""
        with self.explained():
            info: Any = self.client.info("server")
        return str(info["run_id"])

    def watermark(self, definition: Definition) -> int | None:
        """Up to which event time (microseconds) the view is complete; None where rows of its schema never were."""
        with self.explained():
            found: Any = self.client.hmget(_meta(definition), [keys.META_SCHEMA, keys.META_WATERMARK])
        schema, watermark = found
        if schema is None or watermark is None or schema.decode() != definition.schema_hash:
            return None
        return int(watermark)

    def announce(self, definition: Definition) -> None:
        """Makes the layout of the rows to come known, before the first of them is written."""
        layout = Layout.of(definition)
        name = keys.META_LAYOUT + layout.schema_id.hex().encode()
        with self.explained():
            self.client.hset(_meta(definition), name, orjson.dumps(layout.as_dict()))

    def advance(self, definition: Definition, watermark: int) -> None:
        """Moves the watermark forward, never back."""
        with self.explained():
            self.client.eval(_ADVANCE, 1, _meta(definition), definition.schema_hash, str(watermark))

    def purge(self, project: str, view: str) -> int:
        """Deletes all rows of a view and what is known of it; returns the number of rows.

        Other keys are not touched, and the server serves others meanwhile: keys are scanned, and unlinked in steps.
        """
        deleted = 0
        with self.explained():
            # Project and view are DNS labels, so nothing in the prefix is a wildcard.
            for page in self._pages(keys.prefix(project, view) + b"*"):
                if page:
                    deleted += int(self.client.unlink(*page))
            self.client.unlink(keys.meta(project, view))
        return deleted

    def count(self, project: str, view: str) -> int:
        """How many rows a view has; in a store of more than 200,000 keys an estimate from 50,000 of them."""
        prefix = keys.prefix(project, view)
        with self.explained():
            total = int(self.client.dbsize())
            if total <= _COUNTED:
                return sum(len(page) for page in self._pages(prefix + b"*"))
            found = seen = 0
            for page in self._pages(None):  # the order of a scan is as good as random
                found += sum(key.startswith(prefix) for key in page)
                seen += len(page)
                if seen >= _SAMPLE:
                    break
        return round(found / max(seen, 1) * total)

    def _pages(self, pattern: bytes | None) -> Iterator[list[bytes]]:
        cursor = 0
        while True:
            answer: Any = self.client.scan(cursor, pattern, _SCAN)
            cursor, page = answer
            yield page
            if cursor == 0:
                return


def _meta(definition: Definition) -> str:
    return keys.meta(definition.project, definition.view).decode()


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}".partition("?")[0]
