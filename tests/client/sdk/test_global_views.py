"""A view without entities: one row of everything, the same as under one key that never changes."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace import FeatureStore
from millrace_core.base.errors import RejectError
from tests.builders import Built
from tests.client.conftest import DAY, NOON, Lake
from tests.examples import examples

HOUR = timedelta(hours=1)
FEATURES = [
    {"name": "amount", "type": "float64"},
    {"name": "visits", "type": "int64"},
    {"name": "sum", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "4h"}},
    {"name": "per_visit", "type": "float64", "expression": "amount / nullif(visits, 0)"},
    {"name": "scaled", "type": "float64", "expression": "amount * request.factor"},
]
_numbers = count()


def pair(lake: Lake, built: Built | None = None) -> tuple[FeatureStore, str, str]:
    """A store of two views over the lake, one by ``user_id`` and one without entities, and their names."""
    number = next(_numbers)
    document = (built or lake.view()).build()
    keyed, everything = f"keyed-{number}", f"all-{number}"
    views = []
    for name in (keyed, everything):
        spec = {**document["spec"]}
        if name == everything:
            spec["entities"] = []
        views.append(Built({**document, "metadata": {"name": name}, "spec": spec}))
    return FeatureStore.from_files([lake.write(*views)], online=lake.online), keyed, everything


events = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda hours: NOON + hours * HOUR),
        st.none() | st.integers(-8, 8).map(float),
        st.none() | st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=examples(0.1), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events, st.sampled_from([None, "6h", "365000d"]), st.booleans(), st.integers(0, 70))
def test_it_answers_as_the_same_rows_under_one_key_do(
    lake: Lake, rows: list[Any], ttl: str | None, windows: bool, end: int
) -> None:
    for file in (lake.folder / "events").iterdir():
        file.unlink()
    lake.add(*((1, *row) for row in rows))
    built = lake.view().having("spec.features", FEATURES if windows else [FEATURES[0], FEATURES[1], *FEATURES[3:]])
    built = built.having("spec.requestFields", [{"name": "factor", "type": "float64"}])
    store, keyed, everything = pair(lake, built.having("spec.ttl", ttl) if ttl else built)
    names = [feature["name"] for feature in built.build()["spec"]["features"]]
    moments = [NOON + hours * HOUR for hours in (*range(0, 66, 3), end)]
    plain = {"event_timestamp": moments, "factor": [2.0] * len(moments)}
    refs = [f"{everything}:{name}" for name in names]
    whole = store.get_historical_features(pa.table(plain), refs)
    under_key = store.get_historical_features(
        pa.table({"user_id": [1] * len(moments), **plain}), [f"{keyed}:{name}" for name in names]
    )
    assert whole.to_arrow().to_pydict() == under_key.to_arrow().drop_columns("user_id").to_pydict()
    made = [store.materialize(view, NOON + end * HOUR) for view in (keyed, everything)]
    for field in ("rows", "written", "keys"):
        assert getattr(made[0], field) == getattr(made[1], field), field
    of_key = store.get_online_features([f"{keyed}:{name}" for name in names], [{"user_id": 1}], {"factor": [2.0]})
    of_all = store.get_online_features(refs, request={"factor": [2.0]})
    assert of_all.statuses == of_key.statuses
    assert of_all.event_timestamps == of_key.event_timestamps
    assert {"user_id": [1], **of_all.to_dict()} == of_key.to_dict()
    assert store.verify(everything, as_of=NOON + end * HOUR).different == 0


def test_it_has_one_row_and_takes_pushes_and_rebuilds(lake: Lake) -> None:
    lake.add((3, NOON + HOUR, 7.0, 7))
    store, _, everything = pair(lake)
    assert store.materialize(everything, NOON + DAY).keys == 1
    refs = [f"{everything}:amount", f"{everything}:visits"]
    assert store.get_online_features(refs).to_dict() == {"amount": [2.0], "visits": [20]}
    row = {"event_timestamp": [NOON + 2 * DAY], "amount": [9.5], "visits": [9]}
    assert store.push(everything, row, to="online").written == 1
    assert store.get_online_features(refs, [{}]).to_dict() == {"amount": [9.5], "visits": [9]}
    twice = store.get_online_features(refs, [{}, {}])
    assert twice.to_dict() == {"amount": [9.5, 9.5], "visits": [9, 9]}
    assert twice.statuses["amount"] == ["PRESENT", "PRESENT"]
    assert store.verify(everything).ahead == 1
    assert store.rebuild(everything).keys == 1
    assert store.get_online_features(refs).to_dict() == {"amount": [2.0], "visits": [20]}
    found = store.describe(everything)
    assert (found["entities"], found["onlineStore"]["keys"]) == ([], 1)


def test_it_stands_beside_views_with_entities_and_under_other_names(lake: Lake) -> None:
    store, keyed, everything = pair(lake)
    for view in (keyed, everything):
        store.materialize(view, NOON + DAY)
    refs = [f"{keyed}:visits", f"{everything} as shop:amount"]
    frame = pa.table({"user_id": [2, 9], "event_timestamp": [NOON + HOUR, NOON + DAY]})
    joined = store.get_historical_features(frame, refs, full_feature_names=True).to_arrow().to_pydict()
    assert (joined[f"{keyed}__visits"], joined["shop__amount"]) == ([30, None], [3.0, 2.0])
    online = store.get_online_features(refs, [{"user_id": user} for user in (1, 2, 9)], full_feature_names=True)
    assert online.to_dict() == {
        "user_id": [1, 2, 9],
        f"{keyed}__visits": [20, 30, None],
        "shop__amount": [2.0, 2.0, 2.0],
    }
    everyone = store.get_historical_features(entities="all", end=NOON + DAY, features=refs).to_arrow()
    assert everyone.drop_columns("event_timestamp").to_pydict() == {
        "user_id": [1, 2],
        "visits": [20, 30],
        "amount": [2.0, 2.0],
    }
    alone = store.get_historical_features(entities="all", start=NOON, end=NOON + DAY, features=refs[1:]).to_arrow()
    assert alone.column_names == ["event_timestamp", "amount"]
    assert alone["event_timestamp"].to_pylist() == [NOON, NOON + DAY]


@pytest.mark.parametrize(
    ("refs", "rows", "words"),
    [
        (["{all}:amount"], [{"user_id": 1}], "has user_id, expected nothing"),
        (["{all}(user_id=x):amount"], None, "has no join key 'user_id'. It has: none"),
        (["{keyed}:amount"], None, "has nothing, expected user_id"),
    ],
)
def test_keys_are_refused_where_there_are_none_and_asked_for_where_there_are(
    lake: Lake, refs: list[str], rows: list[dict[str, int]] | None, words: str
) -> None:
    store, keyed, everything = pair(lake)
    named = [ref.format(all=everything, keyed=keyed) for ref in refs]
    with pytest.raises(RejectError, match=words):
        store.get_online_features(named, rows)
