"""A registry of OCI, asked for manifests and blobs through the door, with its tokens.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md, and for tokens
https://distribution.github.io/distribution/spec/auth/token. As with other clients a registry of this machine is asked
by plain HTTP, and any other by TLS.
"""

from __future__ import annotations

import hashlib
import platform
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import httpx
import orjson

from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_data.objects.door import Door
from millrace_data.objects.http import PASSING, HttpReader, HttpSettings, Server
from millrace_data.objects.http_client import HttpClient
from millrace_data.objects.uri import ObjectUri

SECRET: Final = "spec.model.credentialsSecretRef"  # noqa: S105 a field
HINT: Final = "Check HTTP_USER and HTTP_PASSWORD, or HTTP_TOKEN, in the Secret, and the names of repository and tag"
_TITLE: Final = "org.opencontainers.image.title"
_UNPACK: Final = "io.deis.oras.content.unpack"
_FILE_PATH: Final = "org.cncf.model.filepath"
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_BYTES: Final = 4 * 1024 * 1024
_TOKEN_BYTES: Final = 1024 * 1024
_TOKEN_SECONDS: Final = 60
_MARGIN: Final = 20
_LAYERS: Final = 1000
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_REFERENCE: Final = re.compile(
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_PARAMETER: Final = re.compile(r'(?<!\w)(\w++)="([^"]*+)"')
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_DOCKER: Final = "docker.io"


class Layer(NamedTuple):
    """One blob of a manifest.

    Attributes:
        name: of the file that it is; "" of an archive.
    """

    digest: str
    size: int
    name: str


class Registry:
    """The repository that ``oci://registry/repository:tag@digest`` names.

    Raises:
        RejectError: the URI is none of this form.
    """

    def __init__(
        self, uri: ObjectUri, environ: Mapping[str, str], door: Door, now: Callable[[], float] = time.monotonic
    ) -> None:
        found = _REFERENCE.fullmatch(uri.path)
        if found is None:
            raise RejectError(
                f"{uri.shown} is no reference of an artifact or image",
                hint="Write oci://registry/repository:tag, or oci://registry/repository@sha256:…, in lower case",
                field=uri.field,
                reason="BadUri",
            )
        self._uri = uri
        self._repository, self._digest = found["repository"], found["digest"] or ""
        self._reference = self._digest or found["tag"] or "latest"
        host = uri.host
        if host == _DOCKER:
            host = "registry-1.docker.io"
            self._repository = self._repository if "/" in self._repository else f"library/{self._repository}"
        self._base = f"{'http' if _is_local(host) else 'https'}://{host}/v2/{self._repository}"
        self._settings = HttpSettings.load(environ)
        self._client = HttpClient(door, uri.field)
        self._now = now
        self._challenge = ""
        self._token, self._until = "", 0.0

    def layers(self) -> list[Layer]:
        """The blobs of the manifest, the lowest first.

        Raises:
            RejectError: there is no such artifact, access is denied, or what the registry says is no manifest.
            RetryError: it does not answer.
        """
        manifest = self._manifest(self._reference)
        if isinstance(manifest.get("manifests"), list):
            manifest = self._manifest(self._of_platform(manifest["manifests"]))
        layers = manifest.get("layers")
        if not isinstance(layers, list) or len(layers) > _LAYERS:
            raise self._reject("its manifest has no layers, or too many", "BadModel")
        return [self._layer(each) for each in layers]

    def reader(self, layer: Layer) -> HttpReader:
        """Reads a blob by ranges."""
        url = f"{self._base}/blobs/{layer.digest}"
        return HttpReader(
            self._uri, client=self._client, server=Server(url, self._authorization, HINT, tag=layer.digest)
        )

    def _manifest(self, reference: str) -> dict[str, Any]:
        response, body = self._answer(f"{self._base}/manifests/{reference}", {"accept": ", ".join(_MANIFESTS)})
        if _DIGEST.fullmatch(reference) and reference != f"sha256:{hashlib.sha256(body).hexdigest()}":
            raise self._reject("the registry sends another manifest than the one of this digest", "DigestMismatch")
        try:
            manifest = orjson.loads(body)
        except orjson.JSONDecodeError:
            manifest = None
        if response.status_code != httpx.codes.OK or not isinstance(manifest, dict):
            raise self._reject("the registry answers with no manifest", "BadModel")
        return manifest

    def _answer(self, url: str, headers: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        target = httpx.URL(url)
        headers = {**headers, "accept-encoding": "identity"}
        own = self._authorization(target, headers)
        response, body = self._client.read(target, {**headers, **own}, _MANIFEST_BYTES)
        if response.status_code == httpx.codes.UNAUTHORIZED and not self._token:
            self._challenge = response.headers.get("www-authenticate", "")
            own = self._authorization(target, headers)
            response, body = self._client.read(target, {**headers, **own}, _MANIFEST_BYTES)
        self._require(response.status_code)
        return response, body

    def _authorization(self, _url: httpx.URL, _headers: Mapping[str, str]) -> Mapping[str, str]:
        """What says who asks: a token that the registry's own server gives, else what the Secret holds."""
        if not self._challenge.lower().startswith("bearer ") or self._settings.token:
            return self._settings.headers() if self._challenge or self._settings.token else {}
        if self._now() >= self._until:
            self._token, seconds = self._exchange(dict(_PARAMETER.findall(self._challenge)))
            self._until = self._now() + seconds - _MARGIN
        return {"authorization": f"Bearer {self._token}"}

    def _exchange(self, challenge: Mapping[str, str]) -> tuple[str, float]:
        try:
            realm = httpx.URL(challenge.get("realm", ""))
        except httpx.InvalidURL as error:
            raise self._reject("the registry names no server of tokens", "AccessDenied") from error
        if realm.scheme != "https" and not (realm.scheme == "http" and self._base.startswith("http:")):
            raise self._reject("the registry sends for tokens to where nobody encrypts", "AccessDenied")
        query = {"scope": f"repository:{self._repository}:pull"}
        if "service" in challenge:
            query["service"] = challenge["service"]
        headers = {"accept-encoding": "identity", **self._settings.headers()}
        response, body = self._client.read(realm.copy_merge_params(query), headers, _TOKEN_BYTES)
        self._require(response.status_code)
        try:
            answer = orjson.loads(body)
            token = answer.get("token") or answer["access_token"]
            return str(token), float(answer.get("expires_in") or _TOKEN_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._reject("the registry's server of tokens gives none", "AccessDenied", HINT) from error

    def _require(self, status: int) -> None:
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RejectError(
                f"{self._uri.shown}: the registry answers {status}", hint=HINT, field=SECRET, reason="AccessDenied"
            )
        if status == httpx.codes.NOT_FOUND:
            raise NotFoundError(
                f"there is no {self._uri.shown}",
                hint="Check registry, repository and tag",
                field=self._uri.field,
                reason="ModelNotFound",
            )
        if status in PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise RetryError(
                f"{self._uri.shown}: the registry answers {status}", field=self._uri.field, reason="Unreachable"
            )
        if status != httpx.codes.OK:
            raise self._reject(f"the registry answers {status}", "BadUri")

    def _of_platform(self, manifests: list[Any]) -> str:
        """Files of models are alike on all platforms; base images are not, and the one of this machine is there."""
        machine = platform.machine()
        wanted = ("linux", _ARCHITECTURES.get(machine, machine))
        found = [each for each in manifests if isinstance(each, dict) and _DIGEST.fullmatch(str(each.get("digest")))]
        real = [each for each in found if _platform(each)[0] != "unknown"]  # attestations are unknown/unknown
        if not real:
            raise self._reject("its index names no manifest", "BadModel")
        return str(next((each for each in real if _platform(each) == wanted), real[0])["digest"])

    def _layer(self, each: Any) -> Layer:
        try:
            digest, size = str(each["digest"]), int(each["size"])
            annotations = each.get("annotations") or {}
            title, path = annotations.get(_TITLE), annotations.get(_FILE_PATH)
            packed = annotations.get(_UNPACK) == "true" or (path and "tar" in str(each.get("mediaType")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._reject("its manifest has a layer that is none", "BadModel") from error
        if not _DIGEST.fullmatch(digest) or size < 0:
            raise self._reject("its manifest has a layer without a SHA-256 digest", "BadModel")
        return Layer(digest, size, "" if packed else str(path or title or ""))

    def _reject(self, said: str, reason: str, hint: str = "") -> RejectError:
        return RejectError(f"{self._uri.shown}: {said}", hint=hint, field=self._uri.field, reason=reason)


def _platform(manifest: Mapping[str, Any]) -> tuple[str, str]:
    named = manifest.get("platform") or {}
    return str(named.get("os", "")), str(named.get("architecture", ""))


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    return name in ("localhost", "[::1]") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", name) is not None
