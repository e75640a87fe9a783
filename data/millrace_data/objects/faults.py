"""What can be wrong with an object store, in one table: how each fault shows, and what is to be done about it.

S3 answers HEAD without a body, so such an answer tells a status and no code: a token that has expired is a bare 400,
a wrong secret a bare 403. What failed so is asked again by a listing, whose answer has a code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import pyarrow as pa
from pyarrow import fs

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError, SourceChangedError
from millrace_core.base.shown import line
from millrace_core.base.timeouts import IDLE_SECONDS


class Purpose(NamedTuple):
    """What the objects are for: which fields and reasons its errors have.

    Attributes:
        secret: the field that names the Secret with the credentials.
        missing: reason where there is no such bucket, folder or object.
        unavailable: reason of what may work next time.
    """

    secret: str
    missing: str
    unavailable: str


TABLES: Final = Purpose("spec.source.credentialsSecretRef", "SourceNotFound", "SourceUnavailable")
MODELS: Final = Purpose("spec.model.credentialsSecretRef", "ModelNotFound", "Unreachable")


class Fault(NamedTuple):
    """One line of the table.

    Attributes:
        marks: what the file system's message has in it; one is enough.
        error: the class says whether to retry.
        said: the sentence; ``{uri}`` and ``{bucket}`` are filled in, and ``{text}`` with what the store said.
        reason: of its own; "" takes that of the purpose.
    """

    marks: tuple[str, ...]
    error: type[MillraceError]
    said: str
    hint: str
    reason: str = ""


_KEYS: Final = "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL (on a cluster in the Secret)"
_DENIED: Final = "AccessDenied"
# Arrow loses the code of most answers to GET, so this may also come as _REFUSED.
_ARCHIVED: Final = "ObjectArchived"
_REFUSED: Final = Fault(
    ("ACCESS_DENIED", "AccessDenied", "Unable to locate credentials", "Forbidden", "status 403"),
    RejectError,
    "access to {uri} is denied: {text}",
    f"{_KEYS}, and what they may read; an object that is archived has to be restored first",
    _DENIED,
)
_NO_OBJECT: Final = Fault(
    ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "status 404", "does not exist", "No such file"),
    NotFoundError,
    "there is no bucket or path {uri}",
    "Check the address",
)
# In this order: the first whose mark is found. Names in capitals are those that Arrow has for S3's codes; the others
# are S3's own, and those of AWS's other services.
TABLE: Final = (
    Fault(("NO_SUCH_BUCKET",), NotFoundError, "there is no bucket {bucket}, of {uri}", "Check the address"),
    Fault(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "REQUEST_EXPIRED"),
        RejectError,
        "access to {uri} is denied: the session token has expired or is not valid",
        "Renew AWS_SESSION_TOKEN (on a cluster in the Secret), with the keys that it belongs to",
        _DENIED,
    ),
    Fault(
        ("SIGNATURE_DOES_NOT_MATCH", "SignatureDoesNotMatch", "InvalidSignature"),
        RejectError,
        "access to {uri} is denied: AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID",
        _KEYS,
        _DENIED,
    ),
    Fault(
        (
            "INVALID_ACCESS_KEY_ID",
            "INVALID_CLIENT_TOKEN_ID",
            "InvalidClientTokenId",
            "UNRECOGNIZED_CLIENT",
            "UnrecognizedClient",
        ),
        RejectError,
        "access to {uri} is denied: the server does not know AWS_ACCESS_KEY_ID",
        _KEYS,
        _DENIED,
    ),
    Fault(
        ("REQUEST_TIME_TOO_SKEWED",),
        RetryError,
        "{uri} could not be read: the clock of this machine is not that of the server",
        "Set the clock of the node",
    ),
    Fault(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "status 301"),
        RejectError,
        "the bucket {bucket}, of {uri}, is in another region than AWS_REGION says",
        "Set AWS_REGION (on a cluster in the Secret) to that of the bucket; leave AWS_ENDPOINT_URL out for AWS's S3",
        "WrongRegion",
    ),
    Fault(
        ("ExceptionName: KMS.",),
        RejectError,
        "access to {uri} is denied: the key of KMS that it is encrypted with cannot be used: {text}",
        "Enable the key, and let AWS_ACCESS_KEY_ID decrypt with it (kms:Decrypt)",
        _DENIED,
    ),
    Fault(
        ("InvalidObjectState", "operation is not valid for the"),
        RejectError,
        "{uri} is archived: the store gives none of its bytes",
        "Restore the object, or move it to a storage class that can be read at once",
        _ARCHIVED,
    ),
    _REFUSED,
    _NO_OBJECT,
    Fault(
        ("SLOW_DOWN", "THROTTLING", "SERVICE_UNAVAILABLE", "status 503", "status 429"),
        RetryError,
        "{uri} could not be read: the store asks for fewer requests (SlowDown)",
        "Run it again later",
    ),
    Fault(
        ("curlCode: 6,", "curlCode: 7,", "status 502", "response 502"),
        RetryError,
        "{uri} could not be read: cannot connect to the store: {text}",
        "Check the bucket's name, AWS_ENDPOINT_URL where it is set, and that the server is up",
    ),
    Fault(
        ("curlCode: 28,",),
        RetryError,
        f"{{uri}} could not be read: no data for {IDLE_SECONDS:g} s",
        "Check that the store is up, and the way to it",
    ),
    Fault(
        ("curlCode: 18,", "curlCode: 52,", "curlCode: 56,"),
        RetryError,
        "{uri} could not be read: the connection broke off: {text}",
        "Run it again",
    ),
)
_UNKNOWN: Final = Fault((), RetryError, "{uri} could not be read: {text}", "")
# What HEAD cannot say more of.
_WITHOUT_BODY: Final = "No response body"
# Errors as they come: the code, or the words of the store, after names that may hold any of the table's marks. Those of
# the store's own calls name a key and its bucket, those of a scan a path.
_CODE: Final = r"': (?=AWS Error (?:\[code \d+\]|\w+(?: \(HTTP status \d+\))?) during \w+ operation)"
_OF_KEY: Final = re.compile(rf"[^']*\bkey '(?P<key>.*)' in bucket '(?P<bucket>[^']*){_CODE}", re.DOTALL)
_OF_PATH: Final = re.compile(rf"[^']*'(?P<path>.*){_CODE}", re.DOTALL)
_OF_SERVICE: Final = re.compile(r"An error occurred \((?P<code>\w+)\) when calling the \w+ operation")
_URL: Final = re.compile(r"(?<!\w)\w++://\S+")
# Words of the libraries themselves; what follows them is the store's, which may be any text.
_WORDS: Final = (
    re.compile(
        r"(?P<words>AWS Error (?:\[code \d+\]|[A-Z_]+)(?: \(HTTP status \d+\))? during \w+ operation)"
        r"(?:(?:(?!AWS Error ).)*?(?P<more>curlCode: \d+, [A-Za-z' ]{1,60}))?",
        re.DOTALL,
    ),
    re.compile(r"(?P<words>An error occurred \(\w{1,60}\) when calling the \w+ operation)(?P<more>)"),
    re.compile(r"(?P<words>.{0,200}?status code:?\s*\d{3})(?P<more>)", re.DOTALL),
)


def listing(system: fs.FileSystem, path: str) -> Callable[[], object]:
    """Asks for the code of a fault at ``path``: by a call for names below it, the answer of which has a body."""
    return lambda: system.get_file_info(fs.FileSelector(path))


@contextmanager
def explained(
    uri: str, field: str = "uri", *, purpose: Purpose = TABLES, ask: Callable[[], object] | None = None
) -> Iterator[None]:
    """Turns errors of reading ``uri``, which came in ``field``, into what is to be done about them.

    Args:
        ask: raises the same fault with its code; called where the first answer had none.

    Raises:
        NotFoundError: bucket, folder or file is not there.
        RejectError: access is denied, the region is wrong, or a file is no Parquet file.
        RetryError: anything else; the network, as a rule.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, field, purpose, _with_code(error, ask)) from error


@contextmanager
def unchanged(uri: str, field: str) -> Iterator[None]:
    """Says of a file that was there when the source was opened, and is not any more, that the next run may do better.

    Raises:
        SourceChangedError: instead of NotFoundError.
    """
    try:
        yield
    except NotFoundError as error:
        raise SourceChangedError(
            f"a file of {uri} was deleted while it was read",
            hint="Run it again; keep files for as long as a run takes",
            field=field,
        ) from error


def denied(error: Exception) -> bool:
    """Whether a file system's error says that access is denied."""
    return _fault(error).reason == _DENIED


def gone(error: Exception) -> bool:
    """Whether a file system's error says that something is not there."""
    return _fault(error).error is NotFoundError


def of_store(error: Exception) -> bool:
    """Whether S3 refuses or does not answer; not where the object alone is gone, or its bytes mean nothing."""
    return _said(error).startswith("AWS Error ") and _fault(error) is not _NO_OBJECT


def words(error: Exception) -> str:
    """What a library says of a fault, in one short line, without what a server made it say."""
    text = str(error)
    # The first names a key that may hold anything, also such words: the last counts.
    for pattern in _WORDS:
        if found := list(pattern.finditer(text)):
            last = found[-1]
            return line(last["words"], 300) + (f": {last['more'].strip()}" if last["more"] else "")
    return line(text).rstrip(".") or type(error).__name__


def missing(uri: str, field: str, purpose: Purpose = TABLES) -> NotFoundError:
    """The error for a file, folder or bucket that is not there."""
    what = "bucket or path" if uri.startswith("s3:") else "file or folder"
    return NotFoundError(f"there is no {what} {uri}", hint="Check the address", field=field, reason=purpose.missing)


def _with_code(error: Exception, ask: Callable[[], object] | None) -> Exception:
    if ask is not None and (_WITHOUT_BODY in str(error) or isinstance(error, FileNotFoundError)):
        try:
            ask()
        except OSError as found:
            return found
    return error


def _fault(error: Exception, uri: str = "") -> Fault:
    if isinstance(error, FileNotFoundError):
        return _NO_OBJECT
    if isinstance(error, PermissionError):
        return _REFUSED
    text = _said(error, uri)
    return next((fault for fault in TABLE if any(mark in text for mark in fault.marks)), _UNKNOWN)


def _said(error: Exception, uri: str = "") -> str:
    """What the store says, without the names of what was asked for: a key may be called like a fault."""
    text = str(error)
    if found := _OF_SERVICE.match(text):
        return f"status {found['code']}"  # a number where the answer had no code
    if found := _OF_KEY.match(text):
        return text[found.end() :].replace(f"{found['bucket']}/{found['key']}", "")
    if found := _OF_PATH.match(text):
        return text[found.end() :].replace(found["path"], "")
    path = uri.partition("://")[2]
    for name in (uri, path, path.partition("/")[2] if uri.startswith("s3:") else ""):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}[^\s'\"]*", "", text)
    return _URL.sub("", text)


def _explained(uri: str, field: str, purpose: Purpose, error: Exception) -> MillraceError:
    text = words(error)
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return RejectError(
            f"{uri} holds a file that cannot be read as Parquet: {text}",
            hint="Write it again; write under another name first and rename, so that no half file is ever seen",
            field=field,
            reason="CorruptFile",
        )
    if isinstance(error, FileNotFoundError):
        return missing(uri, field, purpose)
    if isinstance(error, PermissionError):
        return RejectError(
            f"access to {uri} is denied: {text}", hint="Let the process read it", field=field, reason=_DENIED
        )
    fault = _fault(error, uri)
    reason = fault.reason or (purpose.missing if fault.error is NotFoundError else purpose.unavailable)
    of_secret = fault.error is RejectError and fault.reason != _ARCHIVED and uri.startswith("s3:")
    said = fault.said.format(uri=uri, bucket=uri.partition("://")[2].partition("/")[0], text=text)
    return fault.error(said, hint=fault.hint, field=purpose.secret if of_secret else field, reason=reason)
