"""The online store as jobs and the SDK see it: connections, and what is known of a view beside its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import RedisClusterException, RedisError

from millrace_core.base.errors import MillraceError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys, store_url
from millrace_core.features.online.generation import TOLERANCE, Generation
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import layouts_of
from millrace_data.online import meta, store_errors
from millrace_data.online.servers import servers, store_error
from millrace_data.online.store_errors import SDK, Caller

TIMEOUT_SECONDS: Final = 10.0

# Keys looked at per step of a scan; a step takes the server about a millisecond.
_SCAN: Final = 2_000
# A view's keys are counted in stores of up to so many keys; in larger ones they are estimated from a sample, because
# every run of every view counts.
_COUNTED: Final = 200_000
_SAMPLE: Final = 50_000


class Store:
    """A Redis or Valkey: one server, one behind sentinels, or a cluster.

    Args:
        url: as ``millrace_core.features.online.store_url`` has it.
        timeout: seconds that one answer may take.
        caller: who is told of errors.

    Raises:
        RejectError: the URL is none of a store, or a file that it names cannot be used.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS, caller: Caller = SDK) -> None:
        self.where = store_url.parse(url)
        self._caller = caller
        self.shown = self.where.shown
        self.servers = servers(self.where, timeout)

    @property
    def client(self) -> Any:
        """The client library's, for commands about one key."""
        return self.servers.client

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns errors of the client library into ones that say what to do."""
        try:
            yield
        except (RedisError, RedisClusterException, OSError, UnicodeError) as error:
            raise self.explain(error) from error

    def explain(self, error: Exception) -> MillraceError:
        """The error of the client library as the table of store errors has it."""
        return store_errors.explain(store_error(error), self.where, self._caller)

    def run_ids(self) -> set[str]:
        """Identities of the processes that hold rows: others after a restart or a failover."""
        with self.explained():
            self.servers.look_again()
            return {str(server.info("server")["run_id"]) for server in self.servers.masters().values()}

    def rows(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """The rows of keys, None where there is none; one round trip, on a cluster one per server."""
        if not wanted:
            return []
        with self.explained():
            if self.where.kind != "cluster":
                return list(self.client.mget(wanted))
            pipeline = self.client.pipeline()
            for name in wanted:
                pipeline.get(name)
            return list(pipeline.execute())

    def layouts(self, project: str, view: str) -> dict[bytes, Layout]:
        """The layouts that a view's rows may have, by schema id."""
        with self.explained():
            return layouts_of(self.client.hgetall(keys.meta(project, view)))

    def watermark(self, definition: Definition) -> int | None:
        """Up to which event time (microseconds) the view is complete; None where rows of its schema never were."""
        with self.explained():
            found: Any = self.client.hmget(_meta(definition), [keys.META_SCHEMA, keys.META_WATERMARK])
        schema, watermark = found
        if schema is None or watermark is None or schema.decode() != definition.schema_hash:
            return None
        return int(watermark)

    def announce(self, definition: Definition, tolerance: int = TOLERANCE) -> Generation:
        """Makes the layout of the rows to come known, before the first of them is written; gives their generation.

        Args:
            tolerance: how much later than now they may be, microseconds.
        """
        with self.explained():
            arguments = meta.announcement(Layout.of(definition), tolerance)
            return Generation(*self.client.eval(meta.ANNOUNCE, 1, _meta(definition), *arguments))

    def tolerance(self, definition: Definition) -> int:
        """The most by which rows of the view were allowed to be later than now, microseconds."""
        with self.explained():
            found: Any = self.client.hget(_meta(definition), keys.META_TOLERANCE)
        return TOLERANCE if found is None else int(found)

    def purge(self, project: str, view: str) -> int:
        """Deletes all rows of a view and what is known of it; returns the number of rows.

        Other keys are not touched, and the server serves others meanwhile: keys are scanned, and unlinked in steps.
        """
        deleted = 0
        with self.explained():
            # Project and view are DNS labels, so nothing in the prefix is a wildcard.
            pattern = keys.prefix(project, view) + b"*"
            while True:
                masters = self.servers.masters()
                for server in masters.values():
                    for page in pages(server, pattern):
                        deleted += self._unlink(server, page)
                self.servers.look_again()
                # Keys that moved to a server that was scanned already are met once more.
                if self.servers.masters().keys() == masters.keys():
                    break
            self.client.unlink(keys.meta(project, view))
        return deleted

    def count(self, project: str, view: str) -> int:
        """How many rows a view has; in a store of more than 200,000 keys an estimate from 50,000 of them."""
        prefix = keys.prefix(project, view)
        with self.explained():
            masters = list(self.servers.masters().values())
            sizes = [int(server.dbsize()) for server in masters]
            if sum(sizes) <= _COUNTED:
                return sum(len(page) for server in masters for page in pages(server, prefix + b"*"))
            sample = _SAMPLE // len(masters)
            return round(
                sum(_estimate(server, prefix, size, sample) for server, size in zip(masters, sizes, strict=True))
            )

    def _unlink(self, server: Any, page: list[bytes]) -> int:
        if not page:
            return 0
        if self.where.kind != "cluster":
            return int(server.unlink(*page))
        pipeline = server.pipeline(transaction=False)
        for name in page:
            pipeline.unlink(name)
        done: list[Any] = pipeline.execute(raise_on_error=False)
        # What moved meanwhile is deleted where it is now.
        moved = [name for name, answer in zip(page, done, strict=True) if isinstance(answer, Exception)]
        return sum(answer for answer in done if isinstance(answer, int)) + sum(
            int(self.client.unlink(name)) for name in moved
        )


def pages(server: Any, pattern: bytes | None) -> Iterator[list[bytes]]:
    """The keys of one server that match a pattern, as a scan meets them: some of them twice."""
    cursor = 0
    while True:
        cursor, page = server.scan(cursor, pattern, _SCAN)
        yield page
        if cursor == 0:
            return


def _estimate(server: Any, prefix: bytes, size: int, sample: int) -> float:
    found = seen = 0
    for page in pages(server, None):  # the order of a scan is as good as random
        found += sum(key.startswith(prefix) for key in page)
        seen += len(page)
        if seen >= sample:
            break
    return found / max(seen, 1) * size


def _meta(definition: Definition) -> str:
    return keys.meta(definition.project, definition.view).decode()
