"""URIs of single objects: what is accepted, and how they are shown without their secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Scheme = Literal["file", "s3", "http", "https"]

FIELD: Final = "spec.model.uri"
_SCHEMES: Final = ("file", "s3", "http", "https")


class ObjectUri(NamedTuple):
    """A checked URI. ``shown`` is what logs and messages may have: no user, password or query. ``field`` is where it
    came from."""

    scheme: Scheme
    text: str
    shown: str
    host: str
    path: str
    field: str = FIELD

    @property
    def file(self) -> Path:
        """Of ``file``: the absolute path."""
        return Path(self.path)

    @property
    def key(self) -> str:
        """Of ``s3``: the object's key in the bucket ``host``."""
        return self.path.removeprefix("/")


def parse(text: str) -> ObjectUri:
    """Checks a URI or an absolute path.

    Raises:
        RejectError: another scheme, a missing part, ``..`` or control characters in the path; names the URI
        (``BadUri``).
    """
    parts = _split(text)
    shown = _shown(parts) if parts.scheme else text
    if parts.scheme and parts.scheme not in _SCHEMES:
        raise _bad(f"{shown} has the scheme {parts.scheme}, which is not served", "Use file, s3, http or https")
    scheme = cast(Scheme, parts.scheme or "file")
    path = parts.path if scheme == "s3" else unquote(parts.path)
    segments = path.replace("\\", "/").split("/")
    if ".." in segments or not path.isprintable():
        raise _bad(f"{shown!r} has .. or control characters in its path", "Write the path out")
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise _bad(f"{shown} is no absolute path of this machine", "Write file:///absolute/path/model.onnx")
    elif scheme == "s3" and (problem := s3_problem(parts.netloc, path)):
        raise _bad(f"{shown} {problem}", "Write s3://bucket/path/model.onnx; keys are in the Secret")
    elif "@" in parts.netloc:
        raise _bad(
            f"{shown} came with a user or password in it",
            "Put them into the Secret of spec.model.credentialsSecretRef, as HTTP_USER and HTTP_PASSWORD, or "
            "HTTP_TOKEN; a signature may stand in the query",
        )
    elif "\\" in parts.netloc:
        raise _bad(f"{shown} has a backslash in its host", "Write scheme://host/path/model.onnx")
    elif not parts.hostname:
        raise _bad(f"{shown} has no {'bucket' if scheme == 's3' else 'host'}", "Write scheme://name/path/model.onnx")
    if not path.strip("/") or path.endswith("/"):
        raise _bad(f"{shown} names no file", "Give the path of the ONNX file itself, not of its folder")
    host = parts.netloc if scheme == "s3" else parts.hostname or ""
    return ObjectUri(scheme, text, shown, host, path)


def s3_problem(bucket: str, path: str) -> str:
    """What no bucket or no path has; empty: nothing. Arrow would say it only of a file that it opens."""
    if not bucket:
        return "has no bucket"
    if re.fullmatch(r"[A-Za-z0-9._-]+", bucket) is None:
        return "has more than the name of a bucket before its path"
    return "has a folder without a name (//) in its path" if "//" in path else ""


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed only when asked for
    except ValueError as error:
        raise _bad(f"{shown(text, 100)} is no URI: {error}", "Write file, s3, http or https and a path") from error
    if parts.scheme in ("file", "s3", ""):  # here ? and # are part of the name
        rest = text[len(parts.scheme) + 1 :] if parts.scheme else text
        has_netloc = bool(parts.scheme) and rest.startswith("//")
        netloc, slash, path = rest[2:].partition("/") if has_netloc else ("", "", rest)
        return SplitResult(parts.scheme, netloc, slash + path, "", "")
    return parts


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _bad(sentence: str, hint: str) -> RejectError:
    return RejectError(sentence, hint=hint, field=FIELD, reason="BadUri")
