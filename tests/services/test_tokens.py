"""Registry and gateway with tokens: every route asks for one, and every caller of ours sends it to them alone."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest

import millrace
from millrace.cli.main import run
from millrace.sdk.outcomes import rebuild
from millrace.sdk.registry import Registry
from millrace_core.api.featureview import FeatureView
from millrace_core.base import bearer
from millrace_core.base.bearer import Bearer
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.features.definition import definition
from millrace_kube.cache import Cache
from millrace_operators.facts.outcome_sums import Outcomes, OutcomeSums
from millrace_operators.facts.stored_views import StoredViews, StoredWatermark
from millrace_operators.operator.catalogue import Mirror, Release
from millrace_services.gateway.app import build as build_gateway
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.settings import FeatureSettings
from millrace_services.materialize.reports import record_run
from millrace_services.materialize.settings import JobSettings
from millrace_services.registry.app import build as build_registry
from millrace_services.registry.settings import RegistrySettings
from millrace_services.web.service import Service
from tests.builders import feature_view
from tests.running_service import RunningService, StartService, start_service  # noqa: F401 a fixture
from tests.services.gateway.conftest import Store
from tests.services.inference.test_feature_join import MATRIX
from tests.services.web.raw_client import answer, connected
from tests.told_registry import tell

ONE, TWO, WRONG = "one-" + "a" * 20, "two-" + "b" * 20, "not-" + "c" * 20
MLFLOW = b"/api/2.0/mlflow/registered-models/search"
# What a mesh asks for is answered to anybody, and told only to whom it is (test_checks.py).
WITHOUT = {"/health/live", "/health/ready", "/health/started", "/metrics", "/assign/check"}


class Platform(NamedTuple):
    """Both services; ``file`` has their tokens."""

    registry: RunningService
    gateway: RunningService
    store: Store
    file: Path


@pytest.fixture(scope="module")
def platform(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:  # noqa: F811
    folder = tmp_path_factory.mktemp("platform")
    file = folder / "tokens"
    file.write_text(f"{ONE}\n{TWO}\n")
    store = Store(folder)
    store.start()
    tokens = {"MILLRACE_TOKEN_FILE": str(file)}
    registry = start_service(
        "-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{folder}/r.db", **tokens
    )
    document = feature_view("visited").build()
    document["metadata"] |= {"namespace": "tokens", "uid": "1", "generation": 1}
    tell(registry.url, document, headers=authorized())
    gateway = start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_EVIDENCE_LOG=str(folder / "log"),
        MILLRACE_REFRESH_SECONDS="0.1",
        **tokens,
    )
    yield Platform(registry, gateway, store, file)
    store.stop()


def authorized(token: str = ONE) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def routes_of(service: Service) -> set[tuple[str, str]]:
    hot = {("POST" if method == "*" else method, path) for path, method in service._hot.served()}
    return {*hot, *of_api(service.api.routes)}


def of_api(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for each in routes:
        if hasattr(each, "methods"):
            yield from ((method, each.path) for method in each.methods)
        else:
            yield from of_api(each.original_router.routes)


def routes(platform: Platform, name: str, folder: Path) -> set[tuple[str, str]]:
    """Every route of a service, as the same program has them in this process."""
    if name == "registry":
        return routes_of(build_registry(RegistrySettings(database_url=f"sqlite:///{folder}/r.db")))
    settings = GatewaySettings(
        registry_url=platform.registry.url, store_url=platform.store.url, evidence_log=folder / "log", materialize=True
    )

    async def started() -> set[tuple[str, str]]:
        service = build_gateway(settings, {})
        async with service.running():
            return routes_of(service)

    return asyncio.run(started())


@pytest.mark.parametrize("name", ["registry", "gateway"])
def test_every_route_asks_for_a_token_but_probes_and_metrics(platform: Platform, name: str, tmp_path: Path) -> None:
    found = {(method, re.sub(r"{\w+}", "x", path)) for method, path in routes(platform, name, tmp_path)}
    assert len(found) > 15
    found |= {("GET", "/nothing/here"), ("POST", "/metrics/"), ("GET", "/health/live/..")}
    with httpx.Client(base_url=getattr(platform, name).url) as client:
        for method, path in sorted(found):
            told = client.request(method, path)
            if path in WITHOUT:
                assert told.status_code == 200, (method, path)
                continue
            assert (told.status_code, told.headers["www-authenticate"]) == (401, 'Bearer realm="millrace"'), (
                method,
                path,
            )
            assert client.request(method, path, headers=authorized(WRONG)).status_code == 401
            assert client.request(method, path, headers=authorized()).status_code != 401, (method, path)


@pytest.mark.parametrize("name", ["registry", "gateway"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"authorization", b"Bearer " + ONE.encode())], 200),
        ([(b"authorization", b"bearer   " + TWO.encode() + b" ")], 200),
        ([(b"Authorization", b"BEARER " + ONE.encode())], 200),
        ([], 401),
        ([(b"authorization", b"Bearer")], 401),
        ([(b"authorization", b"Bearer ")], 401),
        ([(b"authorization", ONE.encode())], 401),
        ([(b"authorization", b"Basic " + ONE.encode())], 401),
        ([(b"authorization", b"Bearer " + WRONG.encode())], 401),
        ([(b"authorization", b"Bearer " + ONE.encode()[:-1])], 401),
        ([(b"authorization", b"Bearer " + ONE.encode() + b"," + TWO.encode())], 401),
        ([(b"authorization", b"Bearer " + ONE.encode() + b" " + TWO.encode())], 401),
        ([(b"authorization", b"Bearer \xff\xfe\x80")], 401),
        ([(b"authorization", b"Bearer " + ONE.encode() + b"\xc3\xa4")], 401),
        ([(b"authorization", b"Bearer " + ONE.encode())] * 2, 401),
        ([(b"authorization", b"Bearer " + WRONG.encode()), (b"authorization", b"Bearer " + ONE.encode())], 401),
        ([(b"x-authorization", b"Bearer " + ONE.encode())], 401),
    ],
)
def test_one_good_token_is_taken_and_nothing_else(
    platform: Platform, name: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    # One of FastAPI's, and a hot one.
    for request_line in (
        b"GET /openapi.json",
        b"GET " + MLFLOW if name == "registry" else b"POST /get-feature-metadata",
    ):
        lines = [request_line + b" HTTP/1.1", b"host: x", b"content-length: 0", *(b": ".join(each) for each in headers)]
        with connected(getattr(platform, name)) as connection:
            connection.sendall(b"\r\n".join([*lines, b"", b""]))
            head, body, _ = answer(connection)
        assert (head.split()[1] == b"401") is (status == 401)
        assert ONE.encode() not in body
        if status == 401:
            assert b'"reason":"Unauthorized"' in body
            assert all(each in body for each in (b"token=", b"--token-file", b"MILLRACE_TOKEN_FILE"))


def test_a_body_that_is_refused_leaves_the_connection_usable(platform: Platform) -> None:
    with httpx.Client(base_url=platform.gateway.url) as client:
        for path in ("/push", "/get-online-features", "/outcomes"):
            assert client.post(path, content=b"x" * 100_000).status_code == 401
        assert client.get("/health/live").status_code == 200


def test_tokens_change_without_a_restart(platform: Platform) -> None:
    def taken(token: str) -> bool:
        answers = {
            httpx.get(f"{each.url}/openapi.json", headers=authorized(token)).status_code
            for each in (platform.registry, platform.gateway)
        }
        assert len(answers) == 1
        return answers == {200}

    before = platform.file.read_text()
    other = platform.file.with_name("other")
    try:
        other.write_text(f"{TWO}\n")
        other.replace(platform.file)
        assert (taken(ONE), taken(TWO)) == (False, True)
        platform.file.write_text("")
        assert (taken(ONE), taken(TWO)) == (False, True)
    finally:
        other.write_text(before)
        other.replace(platform.file)
    assert (taken(ONE), taken(TWO)) == (True, True)
    assert "the tokens that were read last stay" in platform.registry.log()


@pytest.mark.parametrize("module", ["registry", "gateway"])
@pytest.mark.parametrize("content", [None, b"", b"\n", b"short"])
def test_a_service_without_a_good_token_does_not_start(
    start_service: StartService,  # noqa: F811
    tmp_path: Path,
    module: str,
    content: bytes | None,
) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    service = start_service(
        "-m",
        f"millrace_services.{module}",
        listening=False,
        MILLRACE_TOKEN_FILE=str(file),
        MILLRACE_DATABASE_URL=f"sqlite:///{tmp_path}/r.db",
        MILLRACE_REGISTRY_URL="http://127.0.0.1:1",
        MILLRACE_STORE_URL="redis://127.0.0.1:1",
    )
    assert service.exit_code() == 2
    assert "MILLRACE_TOKEN_FILE: " in service.log()
    assert "short" not in service.log()


@pytest.fixture
def view(platform: Platform) -> str:
    """The namespace of a view of which the gateway has learned by the token."""
    body = {"features": ["visited:visits"], "entities": {"user_id": [1]}, "project": "tokens"}
    told = httpx.post(f"{platform.gateway.url}/get-online-features", json=body, headers=authorized())
    assert told.status_code == 200, told.text
    return "tokens"


def test_the_sdk_sends_its_token_to_both(platform: Platform, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(**given: Any) -> Any:
        store = millrace.FeatureStore.connect(platform.registry.url, platform.gateway.url, view, **given)
        return store.get_online_features(["visited:visits"], [{"user_id": 1}]).to_dict()

    expected = {"user_id": [1], "visits": [None]}
    assert read(token=ONE) == expected
    assert read(token=platform.file) == expected
    for name, value in ((bearer.TOKEN, TWO), (bearer.TOKEN_FILE, str(platform.file))):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert read() == expected
    for given in ({}, {"token": WRONG}):
        with pytest.raises(RejectError) as raised:
            read(**given)
        assert raised.value.reason == "Unauthorized"
        assert WRONG not in str(raised.value)


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code and output of the command line."""
    code: object = 0
    try:
        run(arguments)
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_command_line_sends_the_token_of_a_file(
    platform: Platform, view: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--registry", platform.registry.url, "--gateway", platform.gateway.url, "-n", view]
    code, said = told(["features", "list", *where, "--token-file", str(platform.file)], capsys)
    assert code == 0
    assert "visited" in said
    rebuilt = ["outcomes", "rebuild", "none", "--gateway", platform.gateway.url]
    for arguments in (["features", "list", *where], rebuilt):
        code, said = told(arguments, capsys)
        assert code == 2
        assert "--token-file" in said
    missing = [*rebuilt, "--token-file", "nowhere"]
    code, said = told(missing, capsys)
    assert code == 2
    assert "the file of tokens nowhere cannot be read" in said


class Elsewhere:
    """A server that redirects whoever comes to another one, which remembers the headers that it gets."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        there, self._there = self._serving("127.0.0.2", self.seen, "")
        self.url, self._here = self._serving("127.0.0.1", self.asked, there)

    @staticmethod
    def _serving(host: str, seen: list[dict[str, str]], onwards: str) -> tuple[str, ThreadingHTTPServer]:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                seen.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(307 if onwards else 200)
                if onwards:
                    self.send_header("location", onwards + self.path)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer((host, 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://{host}:{server.server_address[1]}", server

    def close(self) -> None:
        for server in (self._here, self._there):
            server.shutdown()
            server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    found = Elsewhere()
    yield found
    found.close()


def senders(url: str, folder: Path) -> dict[str, Any]:
    """Whoever has a token, each as a call that asks the server at ``url``."""
    file = folder / "tokens"
    file.write_text(ONE)
    tokens = Bearer([ONE])

    async def defined() -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            (await Definitions(client, 1, None, tokens)._ask("")).raise_for_status()  # type: ignore[arg-type]

    async def joined() -> None:
        join = FeatureJoin(
            FeatureSettings(refs=["visited:visits"]), MATRIX, gateway_url=url, project="p", bearer=tokens
        )
        try:
            await join.feeds({"user_id": [1]})
        finally:
            await join.aclose()

    def recorded() -> None:
        view = definition.compile("visited", "p", millrace_view())
        record_run(
            JobSettings(feature_view="{}", store_url="redis://x", registry_url=url, token_file=file), view, {}, 0
        )

    async def mirrored() -> None:
        async with aiohttp.ClientSession() as session:
            await Mirror(Cache(), url, Release("own"), tokens)._call(session, "GET", "/state")

    def now() -> Any:
        raise AssertionError

    return {
        "gateway": lambda: asyncio.run(defined()),
        "inference": lambda: asyncio.run(joined()),
        "materialize": recorded,
        "operator, catalogue": lambda: asyncio.run(mirrored()),
        "operator, sums": lambda: asyncio.run(Outcomes(url, now, tokens).read(OutcomeSums("n", "e"))),
        "operator, views": lambda: asyncio.run(StoredViews(url, now, tokens).read(StoredWatermark("n", "v"))),
        "sdk, registry": lambda: Registry(url, ONE).views("p"),
        "sdk, outcomes": lambda: rebuild("e", namespace="n", gateway=url, token=ONE),
    }


def millrace_view() -> Any:
    return FeatureView.model_validate(feature_view("visited").build()).spec


SENDERS = [
    "gateway",
    "inference",
    "materialize",
    "operator, catalogue",
    "operator, sums",
    "operator, views",
    "sdk, registry",
    "sdk, outcomes",
]


@pytest.mark.parametrize("name", SENDERS)
def test_a_token_goes_to_its_address_and_with_no_redirect_and_into_no_message(
    name: str, elsewhere: Elsewhere, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = ""
    try:
        senders(elsewhere.url, tmp_path)[name]()
    except (MillraceError, httpx.HTTPError, aiohttp.ClientError) as error:
        said = f"{error} {error.__cause__}"
    assert ONE not in said
    assert elsewhere.asked
    assert {each["authorization"] for each in elsewhere.asked} == {f"Bearer {ONE}"}
    assert elsewhere.seen == []
    assert ONE not in caplog.text
