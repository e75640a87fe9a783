"""URLs of online stores, parsed. Writers, the gateway, the SDK and the operator share this one grammar.

::

    redis://[user][:password@]host[:port][/database]
    unix://[user][:password@]/path/of/the.sock[?db=database]
    redis+sentinel://[user][:password@]host[:port][,host[:port]…]/service[/database]
    redis+cluster://[user][:password@]host[:port][,host[:port]…]

``rediss`` in place of ``redis`` uses TLS with every server and sentinel. ``valkey`` and ``valkeys`` mean the same as
``redis`` and ``rediss``. The default port is 6379, and 26379 for sentinels. User and password are those of the servers
that hold the rows; the characters ``:/?#@%`` in them are percent-encoded. Parameters:

========================================  ==========================================================================
``ssl_ca_certs``                          file of the authorities to trust; those of the system by default
``ssl_cert_reqs``                         ``required`` (default) or ``none``: whether the certificate is checked
``ssl_check_hostname``                    ``true`` (default) or ``false``: whether it must name the host. Sentinels and
                                          clusters hand out addresses, which certificates may not have
``ssl_certfile``, ``ssl_keyfile``         this side's certificate and key, where servers ask for one
``sentinel_username, sentinel_password``  where sentinels ask for them
========================================  ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from millrace_core.base.errors import RejectError

FIELD: Final = "MILLRACE_STORE_URL"
PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SCHEMES: Final = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
_TLS_TEXTS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_TEXTS: Final = ("sentinel_username", "sentinel_password")

Kind = Literal["single", "sentinel", "cluster"]


class Host(NamedTuple):
    """One server."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class Login(NamedTuple):
    """User and password; without a password there is no user either."""

    user: str = ""
    password: str = ""


@dataclass(frozen=True)
class Tls:
    """Settings of TLS; an empty text is an absent setting."""

    ca_certs: str = ""
    certfile: str = ""
    keyfile: str = ""
    verify: bool = True
    check_hostname: bool = True


@dataclass(frozen=True)
class StoreUrl:
    """A store's address.

    Attributes:
        hosts: the server, some nodes of a cluster, or the sentinels.
        path: path of a Unix socket; ``hosts`` is empty then.
        service: name of the servers for the sentinels.
        shown: the URL without passwords and parameters, for messages.
    """

    kind: Kind
    hosts: tuple[Host, ...]
    path: str
    login: Login
    database: int
    service: str
    tls: Tls | None
    sentinel_login: Login
    shown: str


def parse(url: str, *, field: str = FIELD) -> StoreUrl:
    """Parses a URL.

    Raises:
        RejectError: it does not follow the grammar; names the part at fault, and no password.
    """
    scheme, separator, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    head, slash, path = rest.partition("/")
    userinfo, _, netloc = head.rpartition("@")
    if "@" in (query if scheme == "unix" else path + query):
        raise _refused(
            f"{scheme}://…", "something in it is not percent-encoded", "Write / ? and @ as %2F %3F %40", field
        )
    shown = f"{scheme}{separator}{netloc}{slash}{path}"
    protocol, _, mode = scheme.partition("+")
    given = _Parameters(query, shown, field)
    if scheme == "unix":
        database = _database(given.take("db"), shown, field)
        found = StoreUrl("single", (), f"{netloc}/{path}", _login(userinfo), database, "", None, Login(), shown)
    elif protocol in _SCHEMES and mode in ("", "sentinel", "cluster") and separator:
        kind: Kind = "single" if mode == "" else "sentinel" if mode == "sentinel" else "cluster"
        hosts = _hosts(netloc, SENTINEL_PORT if kind == "sentinel" else PORT, shown, field)
        service, database = _path(kind, path, shown, field)
        if kind == "single" and len(hosts) > 1:
            raise _refused(shown, "it names several hosts", "Use redis+cluster:// or redis+sentinel://", field)
        tls = _tls(given) if _SCHEMES[protocol] else None
        sentinel = Login(*(given.take(name) for name in _SENTINEL_TEXTS)) if kind == "sentinel" else Login()
        found = StoreUrl(kind, hosts, "", _login(userinfo), database, service, tls, sentinel, shown)
    else:
        raise _refused(
            shown,
            f"{scheme!r} came as its scheme, {' or '.join(_SCHEMES)} is expected",
            "Write it as redis://host:6379/0",
            field,
        )
    given.refuse_others()
    return found


def is_secret(url: str) -> bool:
    """Whether a URL holds a password, and so must not be where many can read it."""
    return ":" in url.partition("://")[2].rpartition("@")[0] or "sentinel_password=" in url


class _Parameters:
    """The parameters after the question mark; unknown ones are refused."""

    def __init__(self, query: str, shown: str, field: str) -> None:
        self._given = dict(parse_qsl(query, keep_blank_values=True))
        self._shown = shown
        self._field = field

    def take(self, name: str, *allowed: str) -> str:
        value = self._given.pop(name, "")
        if allowed and value not in ("", *allowed):
            raise _refused(self._shown, f"{name} is {value!r}", f"It may be {' or '.join(allowed)}", self._field)
        return value

    def refuse_others(self) -> None:
        if self._given:
            raise _refused(
                self._shown, f"it has the parameter {next(iter(self._given))!r}", "Leave it out", self._field
            )


def _tls(given: _Parameters) -> Tls:
    ca_certs, certfile, keyfile = (given.take(name) for name in _TLS_TEXTS)
    verify = given.take("ssl_cert_reqs", "required", "none") != "none"
    named = given.take("ssl_check_hostname", "true", "false") != "false"
    return Tls(ca_certs, certfile, keyfile, verify, verify and named)


def _login(userinfo: str) -> Login:
    user, _, password = userinfo.partition(":")
    return Login(unquote(user), unquote(password)) if password else Login()


def _hosts(netloc: str, port: int, shown: str, field: str) -> tuple[Host, ...]:
    hosts = []
    for part in netloc.split(","):
        name, colon, number = part.rpartition(":")
        if not colon or number.endswith("]"):  # no port, and perhaps a bare IPv6 address in brackets
            name, number = part, str(port)
        name = name.removeprefix("[").removesuffix("]") or "localhost"
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 1 << 16):
            raise _refused(shown, f"{number!r} is no port", "Write hosts as name:6379", field)
        hosts.append(Host(name, int(number)))
    return tuple(hosts)


def _path(kind: Kind, path: str, shown: str, field: str) -> tuple[str, int]:
    if kind != "sentinel":
        database = _database(path.strip("/"), shown, field)
        if database and kind == "cluster":
            raise _refused(shown, "clusters have the database 0 alone", "Leave it out", field)
        return "", database
    service, _, number = path.partition("/")
    if not service:
        raise _refused(
            shown, "it does not say which service the sentinels watch", "redis+sentinel://host:26379/service", field
        )
    return unquote(service), _database(number.strip("/"), shown, field)


def _database(text: str, shown: str, field: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise _refused(shown, f"{text!r} is no number of a database", "Write it as redis://host:6379/0", field)
    return int(text or "0")


def _refused(shown: str, why: str, hint: str, field: str) -> RejectError:
    return RejectError(f"{shown!r} is no URL of an online store: {why}", hint=hint, field=field)
