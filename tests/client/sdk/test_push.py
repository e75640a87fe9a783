"""Pushes from the SDK: what lands where, what does not fit, and that training sees it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from millrace import FeatureStore
from millrace.cli.features.reading import data_file
from millrace_core.base.errors import MillraceError, RejectError
from tests.client.conftest import DAY, NOON, Lake

REFS = ["stats:amount", "stats:visits"]


@pytest.fixture
def store(lake: Lake, tmp_path: Path) -> FeatureStore:
    source = {"push": {"uri": f"file://{tmp_path}/log/"}, "timestampField": "event_timestamp"}
    return FeatureStore.from_files([lake.write(lake.view().having("spec.source", source))], online=lake.online)


def rows(*users: int, amount: float = 1.5) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": list(users),
            "event_timestamp": [NOON + timedelta(seconds=at) for at in range(len(users))],
            "amount": [amount] * len(users),
            "visits": [7] * len(users),
        }
    )


def test_a_pushed_row_is_online_at_once_and_in_training_sets(store: FeatureStore) -> None:
    made = store.push("stats", rows(1, 1, 2))
    assert (made.accepted, made.written, made.skipped, made.logged, made.rejected) == (3, 2, 1, 3, [])
    assert store.get_online_features(REFS, [{"user_id": 1}]).to_dict() == {
        "user_id": [1],
        "amount": [1.5],
        "visits": [7],
    }
    frame = pa.table({"user_id": [1, 1], "event_timestamp": [NOON - DAY, NOON + DAY]})
    assert store.get_historical_features(frame, REFS).to_arrow()["visits"].to_pylist() == [None, 7]
    verdict = store.verify("stats")
    assert (verdict.rows, verdict.different, verdict.ahead) == (2, 0, 0)


def test_the_same_rows_pushed_again_change_nothing(store: FeatureStore) -> None:
    store.push("stats", rows(1, 2))
    again = store.push("stats", rows(1, 2))
    assert (again.accepted, again.written, again.logged) == (2, 0, 0)


def test_a_row_that_was_pushed_online_alone_is_ahead_of_the_source(store: FeatureStore) -> None:
    made = store.push("stats", rows(1), to="online")
    assert (made.written, made.logged) == (1, None)
    assert (store.verify("stats").ahead, store.verify("stats").different) == (1, 0)


def test_a_row_that_is_only_logged_comes_online_with_the_next_run(store: FeatureStore) -> None:
    assert store.push("stats", rows(1), to="offline").written is None
    assert store.get_online_features(REFS, [{"user_id": 1}]).statuses["amount"] == ["NOT_FOUND"]
    store.materialize("stats")
    assert store.get_online_features(REFS, [{"user_id": 1}]).statuses["amount"] == ["PRESENT"]


@pytest.mark.parametrize("form", ["a dict of lists", "pandas", "JSON lines"])
def test_times_may_be_text_as_in_a_source(store: FeatureStore, tmp_path: Path, form: str) -> None:
    frame = rows(1, 2)
    texts = frame.assign(event_timestamp=[at.isoformat() for at in frame["event_timestamp"]])
    given = {"pandas": texts, "a dict of lists": texts.to_dict(orient="list")}
    if form == "JSON lines":
        (tmp_path / "rows.jsonl").write_text(texts.to_json(orient="records", lines=True))
        given[form] = data_file(tmp_path / "rows.jsonl")
    assert store.push("stats", given[form]).written == 2
    again = store.push("stats", frame)
    assert (again.written, again.skipped) == (0, 2), "the same moments"
    moments = {"user_id": [1], "event_timestamp": [(NOON + DAY).isoformat()]}
    assert store.get_historical_features(moments, REFS).to_arrow()["visits"].to_pylist() == [7]


def test_a_text_that_is_no_time_is_named_with_its_row(store: FeatureStore) -> None:
    texts = rows(1, 2).assign(event_timestamp=[NOON.isoformat(), "yesterday"])
    [bad] = store.push("stats", texts).rejected
    assert (bad.index, bad.column) == (1, "event_timestamp")
    assert "'yesterday'" in bad.reason
    with pytest.raises(MillraceError, match="yesterday"):
        store.get_historical_features({"user_id": [1], "event_timestamp": ["yesterday"]}, REFS)


def test_one_bad_row_is_named_and_the_rest_lands(store: FeatureStore) -> None:
    frame = pa.table(
        {
            "user_id": [1, None, 3],
            "event_timestamp": [NOON] * 3,
            "amount": [1.0, 2.0, 3.0],
            "visits": [1, 2, 3],
        }
    )
    made = store.push("stats", frame)
    assert (made.accepted, made.written, made.logged) == (2, 2, 2)
    [bad] = made.rejected
    assert (bad.index, bad.column) == (1, "user_id")
    with pytest.raises(RejectError, match="no row fits"):
        store.push("stats", frame.slice(1, 1))


def test_what_cannot_be_pushed_is_said(store: FeatureStore, lake: Lake) -> None:
    with pytest.raises(RejectError, match="to: 'nowhere' came, one of online, offline, online_and_offline"):
        store.push("stats", rows(1), to="nowhere")
    with pytest.raises(RejectError, match="'visits'"):
        store.push("stats", rows(1).drop(columns=["visits"]))
    with pytest.raises(RejectError, match=r"df\.vists: .* has no column 'vists'. Did you mean 'visits' for 'vists'"):
        store.push("stats", rows(1).assign(vists=[1]))
    for act in (lambda: store.push("stat", rows(1)), lambda: store.rebuild("stat")):
        with pytest.raises(MillraceError, match="view: there is no feature view 'stat'"):
            act()
    files = [lake.folder / "views.yaml"]
    with pytest.raises(RejectError, match='Pass online="embedded" or a URL, or push to="offline"'):
        FeatureStore.from_files(files).push("stats", rows(1))
    lake.write()
    with pytest.raises(MillraceError, match=r"Give it spec\.source\.push"):
        FeatureStore.from_files(files, online=lake.online).push("stats", rows(1))
