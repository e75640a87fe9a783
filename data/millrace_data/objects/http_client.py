"""Requests of HTTP that go through the door: to the address that was checked, with TLS by the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import httpx

from millrace_core.base.destinations import Destination
from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.timeouts import CONNECT_SECONDS, IDLE_SECONDS
from millrace_data.objects.door import OPEN, PORTS, Door

Origin = tuple[str, bytes, int | None]


class HttpClient:
    """Sends single requests, and follows no redirect.

    Where the door is guarded, proxies of the environment are not used: they would connect to what nobody checked.

    Args:
        field: of the object, where the URLs came from.
    """

    def __init__(self, door: Door = OPEN, field: str = "") -> None:
        self._door = door
        self._field = field
        # One for each server: connections are kept by address, and two servers may have one address.
        self._clients: dict[Origin, httpx.Client] = {}

    def send(
        self, url: httpx.URL, headers: Mapping[str, str], method: str = "GET", form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer, whose body is not read yet; the caller closes it.

        Raises:
            RejectError: the server may not be connected to. RetryError: it has no address.
            httpx.HTTPError: it does not answer.
        """
        client = self._client(origin(url))
        request = client.build_request(method, url, headers=headers, data=form)
        # Of a URL as httpx reads it, which is the one that connects; certificates are checked against the name.
        host, port = url.raw_host.decode("ascii"), url.port or PORTS[url.scheme]
        destination = Destination(url.scheme, host, port)
        if not self._door.guarded:
            self._door.require(destination, self._field)
            return client.send(request, stream=True, auth=None)
        *others, last = self._door.addresses(destination, self._field)
        request.extensions["sni_hostname"] = host
        for address in others:
            request.url = url.copy_with(host=address)
            try:
                return client.send(request, stream=True, auth=None)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        request.url = url.copy_with(host=last)
        return client.send(request, stream=True, auth=None)

    def read(
        self,
        url: httpx.URL,
        headers: Mapping[str, str],
        most: int,
        method: str = "GET",
        form: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Response, bytes]:
        """An answer with its whole body.

        Args:
            most: most bytes of the body.

        Raises:
            RejectError: as ``send``, or the body is larger, or the URL is none.
            RetryError: the server does not answer.
        """
        body = bytearray()
        try:
            response = self.send(url, headers, method, form)
            try:
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > most:
                        raise self._reject(f"{url.host} answers with more than {most} bytes")
            finally:
                response.close()
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, KeyError) as error:
            raise self._reject(f"{url.host} is no server of HTTP") from error
        except httpx.HTTPError as error:
            wrong = trouble(error)
            raise RetryError(
                f"{url.host}: {wrong.said}", hint=wrong.hint, field=self._field, reason="Unreachable"
            ) from error
        return response, bytes(body)

    def _client(self, server: Origin) -> httpx.Client:
        if server not in self._clients:  # each loads the certificates of all authorities
            timeout = httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS)
            trust = not self._door.guarded
            self._clients[server] = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=trust)
        return self._clients[server]

    def _reject(self, said: str) -> RejectError:
        return RejectError(said, field=self._field, reason="BadUri")


def origin(url: httpx.URL) -> Origin:
    """What two URLs of one server have in common."""
    return url.scheme, url.raw_host, url.port


class Trouble(NamedTuple):
    """What is wrong with a connection, in words of ours (an error's own may hold the answer), and what to do."""

    said: str
    hint: str


def trouble(error: httpx.HTTPError) -> Trouble:
    """Of a request that got no answer, or a part of one."""
    look = "Check the address, and that the server is up"
    kinds = {
        "ConnectTimeout": Trouble(f"no connection within {CONNECT_SECONDS:g} s", look),
        "ReadTimeout": Trouble(f"no data for {IDLE_SECONDS:g} s", "Check that the server is up, and the way to it"),
        "ConnectError": Trouble(f"cannot connect: {error}", look),
        "RemoteProtocolError": Trouble("the download broke off, or is no answer of HTTP", "Run it again"),
        "ReadError": Trouble("the connection broke off", "Run it again"),
        "DecodingError": Trouble("the compressed body is damaged", "Upload the file again"),
    }
    name = type(error).__name__
    return kinds.get(name) or Trouble(name, look)
