"""A cluster of three masters: rows go where their slots are, also while slots move and nodes fail."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from millrace_core.features.online import keys, store_url
from millrace_core.features.online.generation import FullPass, Generation
from millrace_core.features.online.shard import Shard
from millrace_data.materialization.ledger import Ledger, RunInterval, RunShard
from millrace_data.online.client import open_client
from millrace_data.online.cluster_client import ClusterClient
from millrace_data.online.resp import KeyGroup
from millrace_data.online.slots import slot
from millrace_data.online.store import Store
from millrace_data.online.sweeping import sweep
from millrace_data.online.writer import RowWriter
from tests.core.features.histories import view
from tests.data.online.rows import END, read, rows_of, write
from tests.data.online.topologies import HOST, Cluster, Server, cluster, until

FIXED = view(("x", "int64"))
VARIABLE = view(("x", "int64"), ("s", "string"), name="w", ttl="1000d")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as built:
        yield built


@pytest.fixture
def store(running: Cluster) -> Store:
    for node in running.nodes:
        node.client.flushall()
    return Store(running.url)


def many(count: int, first: int = 0) -> Any:
    return rows_of(FIXED, [(first + i, 1, None, (i,)) for i in range(count)])


def test_slots_are_counted_as_servers_count_them(running: Cluster) -> None:
    for key in (b"default:v:{1001}", b"default:v:{}", b"plain", b"a{b}{c}", b"a{", b"\x00\xff{\xfe}"):
        assert slot(key) == running.nodes[0].client.execute_command("CLUSTER KEYSLOT", key)


def test_rows_are_spread_over_the_nodes_and_found_again(running: Cluster, store: Store) -> None:
    written = write(store, FIXED, many(3000), many(1000, 2500))
    assert (written.changed, written.skipped) == (4000, 0)
    sizes = [node.client.dbsize() for node in running.nodes]
    assert sum(sizes) == 3500
    assert min(sizes) > 500
    got = read(store, FIXED, 3499)
    assert got is not None
    assert got.values == (999,)
    now = time.time_ns() // 1000
    texts = [(f"k{i}", now, None, (i, "é" * i)) for i in range(200)]
    definition = view(("x", "int64"), ("s", "string"), name="w", ttl="1000d", keys=(("id", "string"),))
    assert write(store, definition, rows_of(definition, texts)).changed == 200
    assert write(store, definition, rows_of(definition, texts)).skipped == 200


def test_what_is_known_of_a_view_is_kept_counted_and_purged_with_it(running: Cluster, store: Store) -> None:
    store.announce(FIXED)
    part = RunShard("a", Shard(0, 1))
    ledger = Ledger(store, FIXED)
    assert ledger.end(ledger.begin(part, RunInterval(None, 17)), None, part)
    write(store, FIXED, many(2000))
    write(store, VARIABLE, rows_of(VARIABLE, [(i, 2**60, None, (i, "x")) for i in range(500)]))
    assert store.watermark(FIXED) == 17
    assert store.layouts("default", "v").keys() == {FIXED.schema_id}
    assert store.count("default", "v") == 2000
    assert store.purge("default", "v") == 2000
    assert (store.count("default", "v"), store.count("default", "w")) == (0, 500)
    assert store.watermark(FIXED) is None


async def test_the_gateway_reads_all_slots_at_once(running: Cluster, store: Store) -> None:
    write(store, FIXED, many(300))
    client = open_client(store_url.parse(running.url), 5.0)
    wanted = [keys.store_keys(FIXED, {"id": [i]})[0] or b"" for i in (0, 299, 7, 7, 100_000)]
    found = await client.mget([KeyGroup(b"", wanted)])
    assert [row is None for row in found] == [False, False, False, False, True]
    assert found == store.rows(wanted)
    assert await client.execute(b"HGETALL", keys.meta("default", "v"), []) == []
    client.close()


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_caller_that_is_cancelled_disturbs_no_other_on_a_cluster(
    running: Cluster, store: Store, steps: int
) -> None:
    write(store, FIXED, many(60))
    wanted = [keys.store_keys(FIXED, {"id": list(range(i, i + 10))}) for i in range(0, 60, 10)]
    groups = [[KeyGroup(b"", [key for key in some if key is not None])] for some in wanted]
    expected = [store.rows(group.ends) for [group] in groups]
    async with asyncio.timeout(30):
        client = open_client(store_url.parse(running.url), 5.0)
        callers = [asyncio.ensure_future(client.mget(group)) for group in groups]
        for _ in range(steps):
            await asyncio.sleep(0)
        unfinished = [caller for caller in callers[::2] if not caller.done()]
        for caller in unfinished:
            caller.cancel()
        replies = await asyncio.gather(*callers, return_exceptions=True)
        for caller, reply, rows in zip(callers, replies, expected, strict=True):
            assert caller in unfinished or reply == rows
        assert [await client.mget(group) for group in groups] == expected
        client.close()


def move(running: Cluster, number: int, source: Server, target: Server) -> Iterator[str]:
    """Moves a slot from one node to another; stops where it is half moved."""
    there, here = running.id(target), running.id(source)
    target.client.execute_command("CLUSTER SETSLOT", number, "IMPORTING", here)
    source.client.execute_command("CLUSTER SETSLOT", number, "MIGRATING", there)
    names = source.client.execute_command("CLUSTER GETKEYSINSLOT", number, 1000)
    for index, name in enumerate(names):
        source.client.execute_command("MIGRATE", HOST, target.port, name, 0, 5000, *target.entry)
        if index == len(names) // 2 - 1:
            yield "half"
    for node in (target, source):
        node.client.execute_command("CLUSTER SETSLOT", number, "NODE", there)
    yield "whole"


async def test_rows_of_a_slot_on_its_way_are_read_and_written(running: Cluster, store: Store) -> None:
    """All views' rows of one entity are in one slot, so a slot half moved has one view's row here, another's there."""
    views = [view(("x", "int64"), name=f"moved-{i}") for i in range(6)]
    for definition in views:
        write(store, definition, rows_of(definition, [(5, 1, None, (1,))]))
    wanted = [keys.store_keys(definition, {"id": [5]})[0] or b"" for definition in views]
    number = slot(wanted[0])
    source = next(node for node in running.nodes if node.client.execute_command("CLUSTER COUNTKEYSINSLOT", number))
    target = running.nodes[running.nodes.index(source) - 1]
    client = ClusterClient(store_url.parse(running.url), 5.0)
    before = await client.mget([KeyGroup(b"", wanted)])
    assert None not in before
    for event, _ in enumerate(move(running, number, source, target), 2):
        assert await client.mget([KeyGroup(b"", wanted)]) == before
        for definition in views:
            assert write(store, definition, rows_of(definition, [(5, event, None, (event,))])).changed == 1
        before = await client.mget([KeyGroup(b"", wanted)])
        for definition in views:
            got = read(store, definition, 5)
            assert got is not None
            assert got.values == (event,)
    client.close()
    for _ in move(running, number, target, source):
        pass


@pytest.fixture
def ports_alone(running: Cluster) -> Iterator[None]:
    """Nodes that tell no hosts of one another, as behind a load balancer."""
    for node in running.nodes:
        node.client.config_set("cluster-preferred-endpoint-type", "unknown-endpoint")
    yield
    for node in running.nodes:
        node.client.config_set("cluster-preferred-endpoint-type", "ip")


@pytest.mark.usefixtures("ports_alone")
async def test_nodes_that_tell_a_port_alone_are_at_the_host_that_was_asked(running: Cluster, store: Store) -> None:
    views = [view(("x", "int64"), name=f"moved-{i}") for i in range(6)]
    for definition in views:
        write(store, definition, rows_of(definition, [(5, 1, None, (1,))]))
    assert [store.count("default", definition.view) for definition in views] == [1] * len(views)
    wanted = [keys.store_keys(definition, {"id": [5]})[0] or b"" for definition in views]
    number = slot(wanted[0])
    source = next(node for node in running.nodes if node.client.execute_command("CLUSTER COUNTKEYSINSLOT", number))
    target = running.nodes[running.nodes.index(source) - 1]
    client = ClusterClient(store_url.parse(running.url), 5.0)
    seen = await client.mget([KeyGroup(b"", wanted)])
    for event, _ in enumerate(move(running, number, source, target), 2):
        assert [store.client.get(name) for name in wanted] == store.rows(wanted) == seen
        assert await client.mget([KeyGroup(b"", wanted)]) == seen
        for definition in views:
            assert write(store, definition, rows_of(definition, [(5, event, None, (event,))])).changed == 1
        seen = await client.mget([KeyGroup(b"", wanted)])
    assert store.rows(wanted) == seen
    client.close()
    for _ in move(running, number, target, source):
        pass


def test_a_node_that_is_new_is_asked_for_rows_of_a_slot_on_its_way_to_it(running: Cluster, store: Store) -> None:
    """A node without slots is in no map of the cluster, and gets its first slot."""
    views = [view(("x", "int64"), name=f"moved-{i}") for i in range(6)]
    for definition in views:
        write(store, definition, rows_of(definition, [(5, 1, None, (1,))]))
    wanted = [keys.store_keys(definition, {"id": [5]})[0] or b"" for definition in views]
    number = slot(wanted[0])
    source = next(node for node in running.nodes if node.client.execute_command("CLUSTER COUNTKEYSINSLOT", number))
    target = running.nodes[running.nodes.index(source) - 1]
    before = store.rows(wanted)
    for _ in move(running, number, source, target):
        del store.client.nodes_manager.nodes_cache[f"{HOST}:{target.port}"]
        assert [store.client.get(name) for name in wanted] == before
        store.servers.look_again()
    assert store.rows(wanted) == before
    for _ in move(running, number, target, source):
        pass


@pytest.mark.slow
async def test_after_a_failover_the_gateway_reads_and_the_writer_starts_anew(running: Cluster, store: Store) -> None:
    write(store, FIXED, many(1000))
    replica = running.join()
    lost = running.nodes[0]
    replica.client.execute_command("CLUSTER REPLICATE", running.id(lost))
    until(lambda: replica.client.info("replication").get("master_link_status") == "up")
    client = open_client(store_url.parse(running.url), 1.0)
    wanted = [keys.store_keys(FIXED, {"id": [i]})[0] or b"" for i in range(200)]
    before = await client.mget([KeyGroup(b"", wanted)])
    outcome: list[Any] = []

    def run() -> None:
        try:
            with RowWriter(store, FIXED, patience=60.0, now=lambda: END).running() as writer:
                for first in range(0, 20_000, 1000):
                    writer.write(many(1000, first))
                    if first == 3000:
                        killed.set()
                    time.sleep(0.01)
        except Exception as error:
            outcome.append(error)

    killed = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(killed.wait)
    lost.kill()
    for _ in range(600):
        try:
            assert await client.mget([KeyGroup(b"", wanted)]) == before
            break
        except Exception:  # the failover lasts
            await asyncio.sleep(0.05)
    else:
        pytest.fail("the gateway did not come back")
    await asyncio.to_thread(thread.join)
    assert [getattr(error, "reason", error) for error in outcome] == ["StoreRestarted"]
    write(store, FIXED, many(20_000))
    assert store.count("default", "v") == 20_000
    client.close()
    running.nodes[0] = replica


def test_a_pass_sweeps_what_it_did_not_write_on_all_nodes(running: Cluster, store: Store) -> None:
    write(store, FIXED, many(3000), generation=Generation(1))
    kept = many(1000)
    full = FullPass(2, 2, END, END)
    write(store, FIXED, kept, generation=Generation(2), full_pass=full)
    assert sweep(store, "default", "v", full, b"") == 2000
    assert store.count("default", "v") == 1000
    assert sweep(store, "default", "v", full, b"") == 0
