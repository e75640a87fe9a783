"""Files of runs: whole or not there, within their place, in a folder and in a bucket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from millrace_core.base.errors import RejectError
from millrace_services.registry.artifacts import opening, paths
from millrace_services.registry.artifacts.folder import FolderPlace
from millrace_services.registry.artifacts.paths import UPLOADS
from millrace_services.registry.artifacts.place import Place
from millrace_services.registry.mlflow.errors import MlflowError
from tests.running_service import StartService
from tests.s3 import s3_bucket, s3_server

ROOT = "/api/2.0/mlflow-artifacts/artifacts"
MOST = 200_000
INVALID = (400, "INVALID_PARAMETER_VALUE")


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    with s3_server() as url:
        s3_bucket(url, "files")
        yield {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return opening.opened(str(tmp_path / "a"), "", {})
    return opening.opened(f"s3://files/{tmp_path.name}", "", request.getfixturevalue("bucket"))


def put(place: Place, path: str, *pieces: bytes) -> None:
    upload = place.upload(path)
    try:
        for piece in pieces:
            upload.write(piece)
        upload.finish()
    finally:
        upload.abandon()


def test_what_was_put_is_listed_read_and_deleted(place: Place) -> None:
    put(place, "0/run/artifacts/model/MLmodel", b"a", b"b" * 3_000_000)
    put(place, "0/run/artifacts/a.txt", b"")
    assert place.listed("0/run/artifacts") == [("a.txt", 0), ("model", None)]
    assert place.listed("0/run/artifacts/a.txt") == place.listed("nothing") == []
    size, chunks = place.opened("0/run/artifacts/model/MLmodel")
    content = b"".join(chunks)
    assert (size, content) == (3_000_001, b"a" + b"b" * 3_000_000)
    put(place, "0/run/artifacts/a.txt", b"other")
    assert b"".join(place.opened("0/run/artifacts/a.txt").chunks) == b"other"
    for missing in ("0/run/artifacts/model", "0/x", "0/run/artifacts/a.txt/x"):
        with pytest.raises(MlflowError) as caught:
            place.opened(missing)
        assert caught.value.status == 404
    for path in ("0/run/artifacts/a.txt", "0/run/artifacts/model", "0/run/artifacts/model"):
        place.delete(path)
    assert place.listed("0/run/artifacts/model") == []


def test_an_upload_that_ends_early_leaves_nothing(place: Place) -> None:
    upload = place.upload("0/x")
    upload.write(b"half")
    upload.abandon()
    assert place.listed("") == place.listed("0") == []


def test_what_a_killed_process_left_goes_when_it_is_old(tmp_path: Path) -> None:
    FolderPlace(tmp_path)
    for name, age in (("old", 3 * 24 * 3600), ("new", 60)):
        (tmp_path / UPLOADS / name).write_bytes(b"half")
        os.utime(tmp_path / UPLOADS / name, (0, time.time() - age))
    assert FolderPlace(tmp_path).listed("") == []
    assert [each.name for each in (tmp_path / UPLOADS).iterdir()] == ["new"]


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    place, secret = FolderPlace(tmp_path / "a"), tmp_path / "secret"
    secret.write_text("s")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    for use in (place.listed, place.opened, place.upload, place.delete):
        with pytest.raises(MlflowError, match="Invalid path"):
            use("link/secret")
    assert secret.exists()


def test_a_file_where_a_folder_is_and_a_folder_where_a_file_is_are_refused(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    put(place, "d/f", b"x")
    for path in ("d", "d/f/g", "d/" + "x" * 300):
        with pytest.raises(MlflowError) as caught:
            put(place, path, b"x")
        assert caught.value.status == 400
    assert [*(tmp_path / UPLOADS).iterdir()] == []


@pytest.mark.parametrize(
    "path",
    [
        *("..", "a/../b", "/etc/passwd", "a//b", "a/./b", "a\\b", "a\x00b", "a\nb", ".", f"{UPLOADS}/x"),
        *("%2e%2e/x", "%252e%252e/x", "a%2f..%2fb", "%5c", "a%00", "x" * 1025, "/".join("x" * 65)),
        *("a\x1b[2J", "a\u2028b", "a\x85b"),
    ],
)
def test_a_path_that_may_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(MlflowError, match="Invalid path"):
        paths.checked(path)


def test_a_path_that_is_too_long_is_refused_before_its_percent_codes_are_undone() -> None:
    with pytest.raises(MlflowError, match="more than 1024 characters"):
        paths.checked("a/%" + "25" * 10**6)


@pytest.mark.parametrize(
    "path",
    ["a b", "Screenshot 9.41\u202fAM.png", "\u5168\u89d2\u3000.txt", "\U0001f469\u200d\U0001f4bb.md", "a%20b", "100%"],
)
def test_a_name_of_any_script_is_a_path(path: str) -> None:
    assert paths.checked(path) == path


def test_only_what_lies_here_is_read_for_a_run() -> None:
    assert paths.of_uri("mlflow-artifacts:/0/r/artifacts") == "0/r/artifacts"
    assert paths.of_uri("mlflow-artifacts://registry.example:80/0/r/artifacts") == "0/r/artifacts"
    for elsewhere in ("s3://b/0/r", "file:///etc", "/etc", "mlflow-artifacts:/../x"):
        with pytest.raises(MlflowError):
            paths.of_uri(elsewhere)


def test_a_setting_names_a_folder_or_a_bucket(tmp_path: Path) -> None:
    opening.opened("", str(tmp_path / "r.db"), {})
    opening.opened(f"file://{tmp_path}/a%20b", "", {})
    assert {each.name for each in tmp_path.iterdir()} == {"artifacts", "a b"}
    with pytest.raises(MlflowError, match="MILLRACE_ARTIFACTS names no folder") as caught:
        opening.opened("", "", {}).listed("")
    assert caught.value.status == 501
    (tmp_path / "file").touch()
    for wrong in ("relative", "gs://b/x", "s3://", str(tmp_path / "file")):
        with pytest.raises(RejectError) as refused:
            opening.opened(wrong, "", {})
        assert refused.value.field == "MILLRACE_ARTIFACTS"


@pytest.fixture(scope="module")
def http(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("registry")
    settings = {"MILLRACE_MAX_ARTIFACT_BYTES": str(MOST), "MILLRACE_MAX_BODY_BYTES": "10000"}
    server = start_service(
        "-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{home}/r.db", **settings
    )
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.headers["x-home"] = str(home)
        yield client


def uploads(http: httpx.Client) -> list[Path]:
    return [*(Path(http.headers["x-home"]) / "artifacts" / UPLOADS).iterdir()]


def test_files_go_through_the_server_also_those_larger_than_its_other_bodies(http: httpx.Client) -> None:
    content = os.urandom(MOST)
    assert http.put(f"{ROOT}/0/r/artifacts/m/a b.bin", content=content).json() == {}
    answer = http.get(f"{ROOT}/0/r/artifacts/m/a b.bin")
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.bin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    listed = http.get(ROOT, params={"path": "0/r/artifacts/m"}).json()
    assert listed == {"files": [{"path": "a b.bin", "is_dir": False, "file_size": MOST}]}
    assert http.get(ROOT, params={"path": "0/r/artifacts/m/a b.bin"}).json() == {}
    missing = http.get(f"{ROOT}/0/r/artifacts/x")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert http.delete(f"{ROOT}/0/r/artifacts/m").json() == {}
    assert http.get(ROOT, params={"path": "0/r/artifacts"}).json() == {}
    http.put(f"{ROOT}/0/r/artifacts/x", content=b"x")
    assert http.delete(f"{ROOT}/0/r/artifacts/").json() == {}
    assert http.get(ROOT, params={"path": "0/r"}).json() == {}


def test_a_file_may_be_of_a_type_that_pages_send_where_a_page_cannot_send_it(
    start_service: StartService, tmp_path: Path
) -> None:
    settings = {"MILLRACE_DATABASE_URL": f"sqlite:///{tmp_path}/r.db", "MILLRACE_ALLOWED_HOSTS": "127.0.0.0/8"}
    server = start_service("-m", "millrace_services.registry", **settings)
    plain = {"content-type": "text/plain"}
    with httpx.Client(base_url=server.url, headers=plain, timeout=60) as client:
        assert client.put(f"{ROOT}/0/a.txt", content=b"a").status_code == 200
        page = client.put(f"{ROOT}/0/a.txt", content=b"b", headers={"origin": "http://evil.example"})
        assert page.status_code == 403
        assert client.post("/api/2.0/mlflow/runs/create", content=b"{}").status_code == 415
        assert client.options(f"{ROOT}/0/a.txt", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.get(f"{ROOT}/0/a.txt").content == b"a"


def test_a_file_that_is_too_large_is_refused_whether_it_says_so_or_not(http: httpx.Client) -> None:
    for content in (b"x" * (MOST + 1), iter([b"x" * 100_000] * 3)):
        answer = http.put(f"{ROOT}/0/large", content=content)
        assert (answer.status_code, "MILLRACE_MAX_ARTIFACT_BYTES" in answer.text) == (413, True)
    assert http.get(f"{ROOT}/0/large").status_code == 404
    assert uploads(http) == []


@pytest.mark.parametrize("path", ["/0/../../r.db", "/%2e%2e/r.db", "/%252e%252e/r.db", "//etc/passwd", "/a%5Cb"])
def test_a_path_that_leads_out_is_refused_over_the_wire(http: httpx.Client, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = raw(
            http, f"{method} {ROOT}{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 400 "), (method, answer)
        assert b"INVALID_PARAMETER_VALUE" in answer


def test_a_body_that_is_cut_off_leaves_nothing(http: httpx.Client) -> None:
    head = f"PUT {ROOT}/0/cut HTTP/1.1\r\nhost: x\r\ncontent-length: 150000\r\n\r\n" + "x" * 100_000
    with connected(http) as connection:
        connection.sendall(head.encode())
        until = time.monotonic() + 60
        while not uploads(http) and time.monotonic() < until:
            time.sleep(0.01)
    while uploads(http) and time.monotonic() < until:
        time.sleep(0.01)
    assert uploads(http) == []
    assert http.get(f"{ROOT}/0/cut").status_code == 404


def test_parts_and_what_there_is_not_are_refused_in_mlflows_form(http: httpx.Client) -> None:
    for method, path, what in (("POST", "mpu/create/0/x", "upload"), ("GET", "presigned/0/x", "download")):
        answer = http.request(method, f"/api/2.0/mlflow-artifacts/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
        # Clients look for these words, and then send and fetch files whole.
        assert answer.json()["message"].startswith(f"Multipart {what} is not supported for the current artifact")
    answer = http.get("/api/2.0/mlflow-artifacts/nonsense")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_files_of_a_run_and_of_a_model_are_listed_by_their_ids(http: httpx.Client) -> None:
    api = "/api/2.0/mlflow"
    run = http.post(f"{api}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
    model = http.post(f"{api}/logged-models", json={"experiment_id": "0", "name": "m"}).json()["model"]["info"]
    for uri in (run["artifact_uri"], model["artifact_uri"]):
        http.put(f"{ROOT}/{uri.removeprefix('mlflow-artifacts:/')}/d/f", content=b"abc")
    listed = http.get(f"{api}/artifacts/list", params={"run_id": run["run_id"], "path": "d"}).json()
    assert listed == {"root_uri": run["artifact_uri"], "files": [{"path": "d/f", "is_dir": False, "file_size": 3}]}
    top = http.get(f"{api}/logged-models/{model['model_id']}/artifacts/directories").json()
    assert top == {"root_uri": model["artifact_uri"], "files": [{"path": "d", "is_dir": True}]}
    refused = http.get(f"{api}/artifacts/list", params={"run_id": run["run_id"], "path": "../.."})
    assert (refused.status_code, refused.json()["error_code"]) == INVALID


def connected(http: httpx.Client) -> socket.socket:
    return socket.create_connection((http.base_url.host, http.base_url.port), timeout=60)


def raw(http: httpx.Client, request: str) -> bytes:
    with connected(http) as connection:
        connection.sendall(request.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer
