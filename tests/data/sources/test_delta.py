"""Delta tables as other engines leave them: with rows deleted beside the data, with columns renamed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from deltalake import WriterProperties, write_deltalake
from pyroaring import BitMap

from millrace_core.base.errors import RejectError
from millrace_core.features.history.history import TimeRange
from millrace_data.sources.credentials import Credentials
from tests.data.sources.test_kinds import Place, read, rows

# Digits of base 85 as https://rfc.zeromq.org/spec/32/ has them, in which vectors stand within the log.
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_MAGIC = 1681511377

Action = dict[str, Any]


def place(folder: Path) -> Place:
    return Place({"delta": {"uri": f"file://{folder}"}}, Credentials())


def vector(positions: list[int]) -> Action:
    """A deletion vector within the log: https://github.com/delta-io/delta/blob/master/PROTOCOL.md."""
    content = struct.pack("<iqi", _MAGIC, 1, 0) + BitMap(positions).serialize()
    padded = content + bytes(-len(content) % 4)
    words = [int.from_bytes(padded[at : at + 4], "big") for at in range(0, len(padded), 4)]
    text = "".join(DIGITS[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": len(positions)}


def rewritten(folder: Path, change: Callable[[Action], None]) -> None:
    """Changes every action of the first commit."""
    log = folder / "_delta_log" / "00000000000000000000.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        change(action)
    log.write_text("\n".join(json.dumps(action) for action in actions))


def asking_for(feature: str, action: Action) -> None:
    if "protocol" in action:
        used = {"readerFeatures": [feature], "writerFeatures": [feature]}
        action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **used}


def mapping(names: dict[str, str]) -> Callable[[Action], None]:
    """Calls columns otherwise than the files do."""

    def mapped(action: Action) -> None:
        asking_for("columnMapping", action)
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"], 1):
                known = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": field["name"]}
                field |= {"metadata": known, "name": names.get(field["name"], field["name"])}
            action["metaData"]["schemaString"] = json.dumps(schema)
            action["metaData"]["configuration"] = {"delta.columnMapping.mode": "name"}

    return mapped


@pytest.mark.parametrize("partitioned", [False, True])
def test_rows_that_are_deleted_beside_the_data_are_left_out(partitioned: bool, tmp_path: Path) -> None:
    table = rows().set_column(4, "word", pa.array(["a b/é%"] * 1000))
    options: dict[str, Any] = {"partition_by": ["word"]} if partitioned else {}
    write_deltalake(str(tmp_path), table, writer_properties=WriterProperties(max_row_group_size=300), **options)

    def deleting(action: Action) -> None:
        asking_for("deletionVectors", action)
        if "add" in action:
            action["add"]["deletionVector"] = vector([0, 5, 500, 998])

    rewritten(tmp_path, deleting)
    gone = {table["at"][place].as_py() for place in (0, 5, 500, 998)}
    found = read(place(tmp_path), ["at", "word"])
    assert sorted(found["at"]) == [moment for moment in table["at"].to_pylist() if moment not in gone]
    assert set(found["word"]) == {"a b/é%"}


def test_a_column_that_was_renamed_is_read_by_its_present_name(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), rows())
    now = {"at": "moment", "written": "noted", "word": "said"}

    rewritten(tmp_path, mapping(now))
    source = {**place(tmp_path).source, "timestampField": "moment", "createdTimestampField": "noted"}
    features = [{"name": "said", "type": "string"}]
    found = read(Place(source, Credentials()), ["id", "said", "moment"], features=features)
    assert found["said"] == rows()["word"].to_pylist()
    assert found["moment"] == rows()["at"].to_pylist()
    later = read(Place(source, Credentials()), ["id"], TimeRange(None, 2**60, created_after=2000), features=features)
    assert later == {"id": []}


def test_a_feature_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), rows(3))

    def widened(action: Action) -> None:
        asking_for("typeWidening", action)
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            schema["fields"][0]["metadata"] = {"delta.typeChanges": [{"fromType": "integer", "toType": "long"}]}
            action["metaData"]["schemaString"] = json.dumps(schema)

    rewritten(tmp_path, widened)
    with pytest.raises(RejectError, match=r"spec.source.delta.uri: .* asks its readers for typeWidening") as caught:
        read(place(tmp_path), ["id"])
    assert caught.value.reason == "UnreadableTable"


@pytest.mark.parametrize("feature", ["typeWidening", "variantType", "variantShredding-preview", "vacuumProtocolCheck"])
def test_a_feature_that_a_table_lists_and_does_not_use_is_no_hindrance(feature: str, tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), rows(3))
    rewritten(tmp_path, lambda action: asking_for(feature, action))
    assert len(read(place(tmp_path), ["id"])["id"]) == 3


def test_a_checkpoint_of_the_second_version_is_read(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), rows(3))
    rewritten(tmp_path, lambda action: asking_for("v2Checkpoint", action))
    log = tmp_path / "_delta_log"
    first = log / f"{0:020}.json"
    actions = [line for line in first.read_text().splitlines() if "commitInfo" not in line]
    checkpoint = log / f"{0:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
    checkpoint.write_text("\n".join([json.dumps({"checkpointMetadata": {"version": 0}}), *actions]) + "\n")
    first.unlink()
    assert len(read(place(tmp_path), ["id"])["id"]) == 3


@pytest.mark.parametrize("name", ["50%", "a b", "é", "a#b", "a?b"])
def test_a_table_is_read_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "made"), rows(3))
    (tmp_path / "made").rename(tmp_path / name)
    assert len(read(place(tmp_path / quote(name)), ["id"])["id"]) == 3


@pytest.mark.parametrize("local", [True, False])
def test_a_folder_whose_name_the_library_would_misread_is_refused(local: bool, tmp_path: Path) -> None:
    """It would read the folder ``a b`` instead."""
    for name in ("a b", "made"):
        write_deltalake(str(tmp_path / name), rows(3))
    (tmp_path / "made").rename(tmp_path / "a%20b")
    uri = f"file://{tmp_path}/a%2520b" if local else "s3://lake/a%20b"
    with pytest.raises(RejectError, match=r"spec.source.delta.uri: .* has %20 in the name of a folder, .* Rename"):
        read(Place({"delta": {"uri": uri}}, Credentials()), ["id"])


def test_a_partitioned_table_whose_columns_are_mapped_is_refused(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), rows(3), partition_by=["word"])

    rewritten(tmp_path, mapping({}))
    with pytest.raises(RejectError, match="is partitioned and maps its columns") as caught:
        read(place(tmp_path), ["id"])
    assert caught.value.reason == "UnreadableTable"
