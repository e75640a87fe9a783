"""The one table of store errors: what each means, who can mend it, and what a caller is told.

Errors come from connections of our own (``resp``, ``connection``) and from the client library (``servers``). Both give
each a code; the table turns a code into an error that says whether to retry, and names the setting to look at.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from socket import gaierror
from typing import Final

from millrace_core.base.errors import MillraceError, ReportError, RetryError
from millrace_core.features.online.store_url import StoreUrl

# Codes of what goes wrong before or instead of a reply; those of error replies are upper case.
CLOSED: Final = "closed"
TIMEOUT: Final = "timeout"
REFUSED: Final = "refused"
UNRESOLVED: Final = "unresolved"
UNTRUSTED: Final = "untrusted"
TLS: Final = "tls"
FOREIGN: Final = "foreign"
NO_MASTER: Final = "no-master"
# Replies that begin with ERR are told apart by their texts.
DATABASE: Final = "database"
CLIENTS: Final = "clients"
NO_CLUSTER: Final = "no-cluster"

READONLY: Final = "READONLY"

# Letters of a password that is part of so many words that the message is unreadable without them.
_SHORT: Final = 3

_TEXTS: Final = (
    ("DB index", DATABASE),
    ("SELECT is not allowed", DATABASE),
    ("max number of clients", CLIENTS),
    ("cluster support disabled", NO_CLUSTER),
    ("Cluster mode is not enabled", NO_CLUSTER),
    ("invalid password", "WRONGPASS"),
    ("without any password configured", "WRONGPASS"),
    ("no password is set", "WRONGPASS"),
    # What a script met, as servers before Redis 7 and Dragonfly say it.
    *((f": -{code} ", code) for code in (READONLY, "OOM", "MISCONF", "NOREPLICAS")),
)
# Faults of TLS that stay; others come with servers that die.
_TLS_REASONS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "ALERT")


class StoreError(Exception):
    """The store replied with an error, or gave no reply.

    Attributes:
        code: the first word of an error reply, such as MOVED, or one of the codes above.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def error_reply(text: str) -> StoreError:
    """The error of an error reply, such as ``MOVED 3999 127.0.0.1:6381``."""
    code = text.partition(" ")[0]
    return StoreError(text, code_of_text(text, code) if code == "ERR" else code)


def code_of_text(text: str, otherwise: str) -> str:
    """The code of an error of which only the text is known, without the word before it."""
    return next((code for part, code in _TEXTS if part in text), otherwise)


def connection_error(error: OSError | UnicodeError, otherwise: str) -> StoreError:
    """The error of a connection that could not be made, or broke; ``otherwise`` is its code where none fits better."""
    code = otherwise
    if isinstance(error, ssl.SSLCertVerificationError):
        code = UNTRUSTED
    elif isinstance(error, ssl.SSLError):
        code = TLS if any(part in (error.reason or "").upper() for part in _TLS_REASONS) else CLOSED
    elif isinstance(error, gaierror | UnicodeError):  # a name too long for DNS is a UnicodeError
        code = UNRESOLVED
    elif isinstance(error, TimeoutError):
        code = TIMEOUT
    elif isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        code = CLOSED
    return StoreError(str(error) or type(error).__name__, code)


@dataclass(frozen=True)
class Caller:
    """Who is told of an error, and so what can be done about it.

    Attributes:
        setting: where the store's URL comes from.
        report: a sentence about an error that stays; ``{advice}`` in it is what mends it.
        retry: the same of an error that may pass.
        shown: whether the store's address may be told.
    """

    setting: str
    report: str
    retry: str
    shown: bool = True


SDK: Final = Caller(
    "the store's URL (online=, --online or MILLRACE_STORE_URL)",
    "To mend it, {advice}",
    "Try again; if it lasts, {advice}",
)


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        kind: whether a retry may help (``RetryError``) or a person has to act (``ReportError``).
        reason: for conditions and machine readers.
        what: what the store does, as the rest of a sentence.
        advice: what to do, as a command; ``{setting}`` in it is where the caller has the URL from.
    """

    kind: type[MillraceError]
    reason: str
    what: str
    advice: str


_UNAVAILABLE: Final = "StoreUnavailable"
_LOGIN: Final = Fault(ReportError, "StoreDenied", "refuses the login", "check user and password in {setting}")
_CLUSTER: Final = Fault(
    ReportError,
    "StoreIsCluster",
    "is a node of a cluster",
    "write redis+cluster:// (or rediss+cluster://) in {setting}",
)
_INCOMPLETE: Final = Fault(
    RetryError,
    _UNAVAILABLE,
    "is a cluster that cannot answer for all keys",
    "see that every slot has a node that is up",
)
_DISK: Final = Fault(RetryError, _UNAVAILABLE, "takes no writes at present", "see its log")

FAULTS: Final = {
    "WRONGPASS": _LOGIN,
    "NOAUTH": _LOGIN,
    "NOPERM": Fault(
        ReportError,
        "StoreDenied",
        "does not permit this",
        "give the user in {setting} the rights that docs/parts.md lists (ACL)",
    ),
    "DENIED": Fault(
        ReportError,
        "StoreDenied",
        "takes connections of its own machine alone (protected mode)",
        "give the store a password, and write it in {setting}",
    ),
    DATABASE: Fault(
        ReportError, "StoreDatabase", "has no such database", "check the number of the database in {setting}"
    ),
    UNTRUSTED: Fault(
        ReportError,
        "StoreUntrusted",
        "is not trusted",
        "check ssl_ca_certs in {setting}, and that the certificate names the host as the URL does (ssl_check_hostname)",
    ),
    TLS: Fault(
        ReportError,
        "StoreUntrusted",
        "does not agree on TLS",
        "write rediss:// in {setting} where the store speaks TLS and redis:// where not, and name ssl_certfile and "
        "ssl_keyfile where it asks for a certificate",
    ),
    FOREIGN: Fault(
        ReportError,
        "StoreNotRedis",
        "does not speak the Redis protocol",
        "check host and port in {setting}, and that it says rediss:// where the store speaks TLS",
    ),
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    NO_CLUSTER: Fault(ReportError, "StoreIsNoCluster", "is no cluster", "write redis:// (or rediss://) in {setting}"),
    "OOM": Fault(
        ReportError,
        "StoreFull",
        "is full",
        "raise its maxmemory, or set a ttl on the views so that old rows expire",
    ),
    "WRONGTYPE": Fault(
        ReportError,
        "StoreShared",
        "holds something else under a key of Millrace",
        "give Millrace a database of its own in {setting}",
    ),
    READONLY: Fault(
        RetryError,
        _UNAVAILABLE,
        "takes no writes, because it is a replica",
        "name the master, or the sentinels, in {setting}",
    ),
    "LOADING": Fault(RetryError, _UNAVAILABLE, "is still loading its data", "see its log"),
    "BUSY": Fault(RetryError, _UNAVAILABLE, "is busy with a script", "see which clients run scripts (CLIENT LIST)"),
    "MISCONF": _DISK,
    "NOREPLICAS": _DISK,
    "MASTERDOWN": _INCOMPLETE,
    "CLUSTERDOWN": _INCOMPLETE,
    "TRYAGAIN": _INCOMPLETE,
    "NOSCRIPT": Fault(RetryError, _UNAVAILABLE, "has forgotten the write rule", "see its log"),
    CLIENTS: Fault(RetryError, _UNAVAILABLE, "has too many clients", "raise its maxclients"),
    NO_MASTER: Fault(
        RetryError, _UNAVAILABLE, "has no master at present", "check the service and the sentinels in {setting}"
    ),
    REFUSED: Fault(
        RetryError,
        _UNAVAILABLE,
        "accepts no connection",
        "see that it is up, and check host and port in {setting}",
    ),
    UNRESOLVED: Fault(RetryError, _UNAVAILABLE, "has a host name without an address", "check the host in {setting}"),
    TIMEOUT: Fault(
        RetryError,
        _UNAVAILABLE,
        "does not answer in time",
        "see that it is up and reachable, and that {setting} says rediss:// only where the store speaks TLS",
    ),
    CLOSED: Fault(
        RetryError,
        _UNAVAILABLE,
        "closed the connection",
        "see its log, and that {setting} says rediss:// where the store speaks TLS, and names ssl_certfile and "
        "ssl_keyfile where it asks for a certificate",
    ),
}
_OTHER: Final = Fault(RetryError, _UNAVAILABLE, "reports a fault", "see its log")


def passes(error: StoreError) -> bool:
    """Whether it is worth waiting for the error's end. Errors that the table does not know are not waited for."""
    return error.code in FAULTS and FAULTS[error.code].kind is RetryError


def explain(error: StoreError, where: StoreUrl, caller: Caller) -> MillraceError:
    """The error as the caller is told it, without passwords."""
    fault = FAULTS.get(error.code, _OTHER)
    store = f"the online store {where.shown}" if caller.shown else "the online store"
    advice = fault.advice.format(setting=caller.setting)
    passing = issubclass(fault.kind, RetryError)
    hint = (caller.retry if passing else caller.report).format(advice=advice)
    message = f"{store} {fault.what}: {_without_secrets(str(error), where)}"
    if passing:
        return RetryError(message, hint=hint, reason=fault.reason, delay=1)
    return fault.kind(message, hint=hint, reason=fault.reason)


def _without_secrets(text: str, where: StoreUrl) -> str:
    # Where a server does not know AUTH: "unknown command 'AUTH', with args beginning with: 'user' 'passwo".
    text = text.partition(", with args beginning with")[0].rstrip(".")
    for secret in (where.login.password, where.sentinel_login.password):
        if secret:
            whole = re.escape(secret) if len(secret) > _SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
            text = re.sub(whole, "***", text)
    return text
