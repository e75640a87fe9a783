"""An answer is given again to requests that are the same to the last bit, for a while, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.evidence.record import FeatureValues
from millrace_services.inference.cache_key import key_of, rows_read, weight
from millrace_services.inference.prediction import Prediction, Timings
from millrace_services.inference.prediction_cache import LARGEST, CacheLimits, PredictionCache
from millrace_services.inference.tensors import OutputTensor
from tests.examples import examples

LIMITS = CacheLimits(seconds=10.0, entries=100, bytes=1 << 20)


def prediction(*values: float) -> Prediction:
    return Prediction([OutputTensor(np.array(values, np.float32))], Timings(compute=0.5))


def runs(*values: float) -> Callable[[], Awaitable[Prediction]]:
    async def run() -> Prediction:
        await asyncio.sleep(0)
        return prediction(*values)

    return run


async def refused() -> Prediction:
    raise AssertionError("it was to be kept")


def values(made: Prediction) -> list[Any]:
    return [output.values.tolist() for output in made.outputs]


# Few values, so that examples meet; of floats those whose bits differ though they are equal, or are no number.
BITS = {
    "<f2": [0x0000, 0x8000, 0x7E00, 0x7E01, 0x3C00],
    "<f4": [0, 0x80000000, 0x7FC00000, 0x7FC00001, 0x3F800000],
    "<f8": [0, 1 << 63, 0x7FF8 << 48, 1],
    "<u2": [0, 0x3C00, 0x8000],
    "<i4": [0, 1, -1],
    "|b1": [0, 1],
}
TEXTS = ["", "a", "b", "ab", "a\0", b"a", b"", "ä"]


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.sampled_from([(0,), (1,), (2,), (1, 1), (1, 2), (2, 1), (0, 2)]))
    size = int(np.prod(shape))
    kind = draw(st.sampled_from([*BITS, "O"]))
    if kind == "O":
        flat = np.empty(size, object)
        flat[:] = draw(st.lists(st.sampled_from(TEXTS), min_size=size, max_size=size))
        return flat.reshape(shape)
    bits = draw(st.lists(st.sampled_from(BITS[kind]), min_size=size, max_size=size))
    dtype = np.dtype(kind)
    raw = b"".join(bit.to_bytes(dtype.itemsize, "little", signed=bit < 0) for bit in bits)
    made = np.frombuffer(raw, dtype).reshape(shape)
    return np.asfortranarray(made) if draw(st.booleans()) else made


asked = st.tuples(
    st.dictionaries(st.sampled_from(["a", "b", "ab"]), tensors(), max_size=2),
    st.lists(st.sampled_from(["y", "z", "yz"]), max_size=2, unique=True),
    st.sampled_from([b"", b"1", b"y", b"2026"]),
)


def exactly(request: Any) -> Any:
    """All that may matter, written at length."""
    feeds, outputs, read = request
    told = {
        name: (
            array.dtype.str,
            array.shape,
            [(type(each), each) for each in array.flat] if array.dtype.kind == "O" else array.tobytes(),
        )
        for name, array in feeds.items()
    }
    return told, outputs, read


@given(asked, asked)
@settings(max_examples=examples(1.0), deadline=None)
def test_two_requests_have_one_key_exactly_if_all_their_bits_agree(one: Any, other: Any) -> None:
    assert (key_of(*one) == key_of(*other)) == (exactly(one) == exactly(other))


@given(asked)
@settings(max_examples=examples(0.3), deadline=None)
def test_the_order_of_inputs_in_a_request_and_their_layout_in_memory_do_not_matter(request: Any) -> None:
    feeds, outputs, read = request
    again = {name: np.array(feeds[name], order="F", copy=True) for name in reversed(list(feeds))}
    assert key_of(feeds, outputs, read) == key_of(again, outputs, read)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("<f4", 0.0, -0.0),
        ("<f2", 1.0, 2.0),
        ("<f4", np.nan, 0.0),
        ("O", "a", "b"),
    ],
)
def test_values_that_a_model_may_tell_apart_have_keys_of_their_own(kind: str, first: Any, second: Any) -> None:
    one, other = ({"x": np.array([[each]], kind)} for each in (first, second))
    assert key_of(one, ["y"]) == key_of(one, ["y"])
    assert key_of(one, ["y"]) != key_of(other, ["y"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array([1.0], "<f4"), np.array([0x3F800000], "<i4")),
        (np.array(["a"], object), np.array([b"a"], object)),
        (np.array(["ab", "c"], object), np.array(["a", "bsc"], object)),
        (np.array(["abs", "c"], object), np.array(["ab", "sc"], object)),
    ],
    ids=["types", "text and bytes", "lengths", "borders"],
)
def test_what_has_the_same_bytes_in_another_form_has_a_key_of_its_own(first: np.ndarray, second: np.ndarray) -> None:
    assert key_of({"x": first}, ["y"]) != key_of({"x": second}, ["y"])


def test_a_newer_row_of_a_feature_has_an_answer_of_its_own_though_its_value_is_the_same() -> None:
    feeds = {"x": np.ones((1, 1), np.float32)}

    def key(time: str, status: str = "PRESENT") -> bytes:
        return key_of(feeds, ["y"], rows_read(FeatureValues({"u__age": [1.0]}, {"u": [time]}, {"u": [status]})))

    before, now = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
    assert key(before) == key(before)
    assert len({key(before), key(now), key(before, "OUTSIDE_MAX_AGE")}) == 3


def test_texts_weigh_more_than_their_references() -> None:
    assert weight({"x": np.zeros((2, 2), np.float32)}) == 16
    assert weight({"x": np.array(["a"] * 10, object)}) >= 10 * 64


async def test_an_answer_is_given_again_until_its_time_is_over() -> None:
    now = [0.0]
    told: list[str] = []
    cache = PredictionCache(LIMITS, told.append, lambda: now[0])
    first = await cache.answer(b"k", runs(1.0))
    assert (values(first), first.cache, first.timings.compute) == ([[1.0]], "miss", 0.5)
    now[0] = 9.9
    again = await cache.answer(b"k", refused)
    assert (values(again), again.cache, again.timings) == ([[1.0]], "hit", Timings())
    now[0] = 10.0
    assert values(await cache.answer(b"k", runs(2.0))) == [[2.0]]
    assert told == ["miss", "hit", "miss"]
    assert len(cache) == 1


async def test_the_answer_used_longest_ago_makes_room() -> None:
    cache = PredictionCache(CacheLimits(10.0, entries=2, bytes=1 << 20))
    for key in (b"a", b"b"):
        await cache.answer(key, runs(1.0))
    await cache.answer(b"a", refused)
    await cache.answer(b"c", runs(3.0))
    await cache.answer(b"a", refused)
    assert values(await cache.answer(b"b", runs(4.0))) == [[4.0]]


async def test_the_bytes_of_answers_are_bounded_and_counted() -> None:
    cache = PredictionCache(CacheLimits(10.0, entries=1000, bytes=20_000))
    for n in range(50):
        await cache.answer(b"%d" % n, runs(*range(200)))
        assert 0 < cache.bytes <= 20_000
    assert len(cache) == 20_000 // (1024 + 256 + 800)
    held = cache.bytes
    await cache.answer(b"large", runs(*range(10_000)))
    assert (await cache.answer(b"large", runs(*range(10_000)))).cache == "miss"
    assert cache.bytes == held


@pytest.mark.parametrize("large", [np.zeros(LARGEST, np.int8), np.full(20_000, "a", object)], ids=["bytes", "texts"])
async def test_an_answer_that_takes_long_to_copy_is_shared_and_not_kept(large: np.ndarray) -> None:
    cache = PredictionCache(CacheLimits(10.0, 10, 1 << 30))

    async def run() -> Prediction:
        await asyncio.sleep(0)
        return Prediction([OutputTensor(large)], Timings())

    made = await asyncio.gather(cache.answer(b"k", run), cache.answer(b"k", run))
    assert [each.cache for each in made] == ["miss", "shared"]
    assert all(each.outputs[0].values is large for each in made)
    assert (len(cache), cache.bytes) == (0, 0)


async def test_texts_count_with_what_they_hold() -> None:
    cache = PredictionCache(LIMITS)

    async def texts() -> Prediction:
        return Prediction([OutputTensor(np.array(["x" * 5000], object))], Timings())

    await cache.answer(b"k", texts)
    assert cache.bytes > 5000


async def test_what_is_kept_holds_nothing_of_the_others_of_its_run_and_nobody_writes_to_it() -> None:
    batch = np.arange(1_000_000, dtype=np.float32).reshape(-1, 1)
    cache = PredictionCache(LIMITS)

    async def run() -> Prediction:
        return Prediction([OutputTensor(batch[5:6])], Timings())

    await cache.answer(b"k", run)
    [kept] = (await cache.answer(b"k", refused)).outputs
    batch[5] = 0
    assert kept.values.tolist() == [[5.0]]
    assert kept.values.base is None
    with pytest.raises(ValueError, match="read-only"):
        kept.values[0] = 7


async def test_requests_alike_that_come_at_once_share_one_run() -> None:
    ran = 0

    async def run() -> Prediction:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0)
        return prediction(1.0)

    cache = PredictionCache(LIMITS)
    made = await asyncio.gather(*(cache.answer(b"k", run) for _ in range(5)))
    assert ran == 1
    assert sorted(each.cache for each in made) == ["miss", "shared", "shared", "shared", "shared"]
    assert all(values(each) == [[1.0]] for each in made)


async def test_a_failure_is_of_its_own_request_alone() -> None:
    async def fails() -> Prediction:
        await asyncio.sleep(0)
        raise ValueError("poison")

    cache = PredictionCache(LIMITS)
    first, *others = await asyncio.gather(
        cache.answer(b"k", fails), *(cache.answer(b"k", runs(2.0)) for _ in range(3)), return_exceptions=True
    )
    assert isinstance(first, ValueError)
    assert [values(each) for each in others if isinstance(each, Prediction)] == [[[2.0]]] * 3
    assert (await cache.answer(b"k", refused)).cache == "hit"


async def test_one_that_leaves_takes_the_answer_from_no_other() -> None:
    released = asyncio.Event()

    async def waits() -> Prediction:
        await released.wait()
        return prediction(1.0)

    for leaving in (0, 1):
        cache = PredictionCache(LIMITS)
        asking = [asyncio.create_task(cache.answer(b"k", waits)) for _ in range(3)]
        await asyncio.sleep(0)
        asking[leaving].cancel()
        await asyncio.sleep(0)
        released.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found.pop(leaving), asyncio.CancelledError)
        assert [values(each) for each in found if isinstance(each, Prediction)] == [[[1.0]]] * 2
        released.clear()


Step = tuple[int, int, str]


def check(key: int, fate: str, found: Any) -> None:
    if isinstance(found, Prediction):
        assert values(found)[0][0] == key
    elif isinstance(found, ValueError):
        assert (fate, found.args) == ("fail", (key,))
    else:
        assert fate == "leave"
        assert isinstance(found, asyncio.CancelledError)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["answer", "fail", "leave"])), max_size=25
    ),
    st.integers(1, 3),
    st.integers(1, 4000),
)
@settings(max_examples=examples(1.0), deadline=None)
def test_everybody_gets_the_answer_of_their_own_key_whatever_others_do(
    steps: list[Step], entries: int, most: int
) -> None:
    """Each step: a key, how many turns its run takes and the clock advances, and what becomes of the run."""
    now = [0.0]
    cache = PredictionCache(CacheLimits(2.0, entries, most), clock=lambda: now[0])

    async def ask(key: int, turns: int, fate: str) -> Any:
        async def run() -> Prediction:
            for _ in range(turns):
                await asyncio.sleep(0)
            if fate == "fail":
                raise ValueError(key)
            return prediction(float(key), now[0])

        return await cache.answer(b"%d" % key, run)

    async def scene() -> None:
        asking = []
        for key, turns, fate in steps:
            task = asyncio.create_task(ask(key, turns, fate))
            asking.append(task)
            await asyncio.sleep(0)
            if fate == "leave":
                task.cancel()
            now[0] += turns % 2
            assert cache.bytes <= most
            assert len(cache) <= entries
        found = await asyncio.gather(*asking, return_exceptions=True)
        for (key, _, fate), each in zip(steps, found, strict=True):
            check(key, fate, each)
        assert not cache._running
        assert cache.bytes == sum(entry.bytes for entry in cache._kept.values())

    asyncio.run(scene())
