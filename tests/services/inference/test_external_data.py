"""Files with external data come with their model, from its folder alone, and are part of its digest."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from millrace_core.base import destinations
from millrace_core.base.errors import RejectError, RetryError
from millrace_services.inference import session
from millrace_services.inference.fetch import fetch
from millrace_services.inference.served import measured
from millrace_services.inference.settings import FetchSettings
from tests.onnx_models import write_external
from tests.range_server import range_server

OPEN = destinations.OPEN.as_json()
FILES = ("weights.bin", "more/w.bin")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "volume" / "model.onnx"


@pytest.fixture
def source(tmp_path):
    return write_external(tmp_path / "source" / "net.onnx", FILES)


def settings(uri: object, path, **more) -> FetchSettings:
    return FetchSettings(outgoing=OPEN, uri=str(uri), path=path, **more)


def files_of(source, folder: str = "") -> dict[str, bytes]:
    return {f"{folder}/{file.relative_to(source.parent)}": file.read_bytes() for file in source.parent.rglob("*.*")}


def by_hand(source) -> str:
    """The digest as the documentation has it."""
    script = f"(sha256sum < {source.name}; sha256sum {' '.join(sorted(FILES))}) | sha256sum"
    done = subprocess.run(["sh", "-c", script], cwd=source.parent, capture_output=True, text=True, check=True)
    return f"sha256:{done.stdout.split()[0]}"


def test_all_files_come_and_the_digest_is_that_of_their_list(source, path):
    fetched = fetch(settings(source, path))
    assert fetched.digest == by_hand(source)
    assert fetched.bytes == sum(file.stat().st_size for file in source.parent.rglob("*") if file.is_file())
    assert measured(path) == fetched.digest
    found = sorted(str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file())
    assert found == ["model.onnx", "model.onnx.digest", "more/w.bin", "weights.bin"]
    (output,) = session.load(path, "cpu", 1).run({"features": np.array([[1, 2]], dtype=np.float32)}, ["output"])
    assert output.values.tolist() == [[6.0]]


def test_one_byte_of_a_file_beside_makes_another_model(source, path):
    digest = fetch(settings(source, path)).digest
    other = source.parent / FILES[0]
    other.write_bytes(other.read_bytes()[::-1])
    with pytest.raises(RejectError, match=f"{digest} is expected"):
        fetch(settings(source, path.with_name("model2.onnx"), digest=digest))
    assert not path.with_name("model2.onnx").exists()


def test_a_server_is_asked_for_them_in_its_folder_with_the_signature(source, path):
    with range_server() as server:
        server.files = {
            f"/a/{file.relative_to(source.parent)}": file.read_bytes() for file in source.parent.rglob("*.*")
        }
        fetch(settings(f"http://{server.host}/a/net.onnx?sig=1", path))
        assert {target for _, target, _ in server.requests} == {
            "/a/net.onnx?sig=1",
            "/a/weights.bin?sig=1",
            "/a/more/w.bin?sig=1",
        }


def test_a_file_that_is_missing_is_named_and_nothing_is_left(source, path):
    (source.parent / FILES[1]).unlink()
    with pytest.raises(RejectError, match=r"cannot read .*/more/w\.bin"):
        fetch(settings(source, path))
    assert not [file for file in path.parent.rglob("*") if file.is_file()]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "model.onnx", "model.onnx.digest"])
def test_a_file_outside_of_the_folder_is_never_asked_for(tmp_path, path, name):
    with range_server() as server:
        model = write_external(tmp_path / "s" / "deep" / "net.onnx", (name,))
        server.files = {"/s/deep/net.onnx": model.read_bytes(), "/s/secret": b"x" * 8, "/etc/passwd": b"x" * 8}
        with pytest.raises(RejectError, match="has external data in") as caught:
            fetch(settings(f"http://{server.host}/s/deep/net.onnx", path))
        assert caught.value.reason == "BadModel"
        assert {target for _, target, _ in server.requests} == {"/s/deep/net.onnx"}
    assert not [file for file in path.parent.rglob("*") if file.is_file()]


def test_all_files_together_have_to_stay_within_the_limit(source, path):
    size = sum(file.stat().st_size for file in source.parent.rglob("*") if file.is_file())
    with pytest.raises(RejectError, match=rf"beside \d+ of the model's other files, {size - 1} are the most") as caught:
        fetch(settings(source, path, max_bytes=size - 1))
    assert caught.value.reason == "TooLarge"
    assert fetch(settings(source, path, max_bytes=size)).bytes == size


def test_a_cut_in_a_file_beside_leaves_no_model_and_the_next_run_goes_on(source, path, monkeypatch):
    monkeypatch.setattr("millrace_services.inference.download.ATTEMPTS", 1)
    with range_server() as server:
        server.files = files_of(source)
        whole = server.files[f"/{FILES[0]}"]
        server.cut = lambda _, length: 3 if length == len(whole) else None
        with pytest.raises(RetryError, match="broke off"):
            fetch(settings(f"http://{server.host}/net.onnx", path))
        assert not path.exists()
        server.cut = lambda *_: None
        assert fetch(settings(f"http://{server.host}/net.onnx", path)).digest == by_hand(source)
    assert (path.parent / FILES[0]).read_bytes() == whole


def test_a_pod_whose_file_beside_is_damaged_fetches_anew(source, path):
    first = fetch(settings(source, path))
    (path.parent / FILES[0]).write_bytes(b"damaged!")
    assert fetch(settings(source, path)) == first
    (path.parent / FILES[1]).unlink()
    assert fetch(settings(source, path)) == first
    assert measured(path) == first.digest
