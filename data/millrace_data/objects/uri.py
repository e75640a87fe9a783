"""URIs of single objects: what is accepted, and how they are shown without their secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Scheme = Literal["file", "s3", "gs", "az", "pvc", "oci", "http", "https"]

FIELD: Final = "spec.model.uri"
_SCHEMES: Final = ("file", "s3", "gs", "az", "pvc", "oci", "http", "https")
_SERVED: Final = "Use file, s3, gs, az, pvc, oci, http or https"
# What an object is called in these stands in the URI as it is: no percent-encoding, and ? and # are part of names.
_AS_WRITTEN: Final = {"s3": "bucket", "gs": "bucket", "az": "container", "pvc": "claim"}
_DEEPEST: Final = 32
_LONGEST: Final = 1024


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
        """Of ``s3``, ``gs`` and ``az``: the object's key in the bucket or container ``host``; of ``pvc`` its path."""
        return self.path.removeprefix("/")

    def beside(self, name: str) -> ObjectUri:
        """The URI of a file in this one's folder, or below it; ``name`` as ``relative`` returns it."""
        query = ""
        if self.scheme in ("http", "https"):
            parts = urlsplit(self.text)
            query = f"?{parts.query}" if parts.query else ""  # a signature may be for the folder
            folder = f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}"
        else:
            folder = self.text.rpartition("/")[0]
        named = name if self.scheme in _AS_WRITTEN else quote(name)
        return parse(f"{folder}/{named}{query}")


def parse(text: str) -> ObjectUri:
    """Checks a URI or an absolute path.

    Raises:
        RejectError: another scheme, a missing part, ``..`` or control characters in the path; names the URI
        (``BadUri``).
    """
    parts = _split(text)
    shown = _shown(parts) if parts.scheme else text
    if parts.scheme and parts.scheme not in _SCHEMES:
        raise _bad(f"{shown} has the scheme {parts.scheme}, which is not served", _SERVED)
    scheme = cast(Scheme, parts.scheme or "file")
    path = parts.path if scheme in _AS_WRITTEN else unquote(parts.path)
    segments = path.replace("\\", "/").split("/")
    if ".." in segments or not path.isprintable():
        raise _bad(f"{shown!r} has .. or control characters in its path", "Write the path out")
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise _bad(f"{shown} is no absolute path of this machine", "Write file:///absolute/path/model.onnx")
    elif scheme in _AS_WRITTEN and (problem := _problem(_AS_WRITTEN[scheme], parts.netloc, path)):
        more = "" if scheme == "pvc" else "; keys are in the Secret"
        raise _bad(f"{shown} {problem}", f"Write {scheme}://{_AS_WRITTEN[scheme]}/path/model.onnx{more}")
    elif "@" in parts.netloc:
        raise _bad(
            f"{shown} came with a user or password in it",
            "Put them into the Secret of spec.model.credentialsSecretRef, as HTTP_USER and HTTP_PASSWORD, or "
            "HTTP_TOKEN; a signature may stand in the query",
        )
    elif "\\" in parts.netloc:
        raise _bad(f"{shown} has a backslash in its host", "Write scheme://host/path/model.onnx")
    elif not parts.hostname:
        raise _bad(f"{shown} has no host", "Write scheme://name/path/model.onnx")
    if not path.strip("/") or path.endswith("/"):
        raise _bad(f"{shown} names no file", "Give the path of the ONNX file itself, not of its folder")
    host = parts.netloc if scheme in (*_AS_WRITTEN, "oci") else parts.hostname or ""
    return ObjectUri(scheme, text, shown, host, path)


def relative(name: str) -> str | None:
    """The path of a file below a folder, without what means nothing (``./``); None where it may lead elsewhere.

    Absolute paths, ``..``, backslashes, drives and control characters are refused, and what has no end.
    """
    parts = [part for part in name.split("/") if part != "."]
    if not name or name.startswith("/") or not name.isprintable() or len(name) > _LONGEST or len(parts) > _DEEPEST:
        return None
    if not parts or any(not part or part == ".." or "\\" in part or ":" in part for part in parts):
        return None
    return "/".join(parts)


def s3_problem(bucket: str, path: str) -> str:
    """What no bucket or no path has; empty: nothing. Arrow would say it only of a file that it opens."""
    return _problem("bucket", bucket, path)


def _problem(what: str, bucket: str, path: str) -> str:
    if not bucket:
        return f"has no {what}"
    if re.fullmatch(r"[A-Za-z0-9._-]+", bucket) is None:
        return f"has more than the name of a {what} before its path"
    return "has a folder without a name (//) in its path" if "//" in path else ""


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed only when asked for
    except ValueError as error:
        raise _bad(f"{shown(text, 100)} is no URI: {error}", _SERVED) from error
    if parts.scheme in ("file", "", *_AS_WRITTEN):  # here ? and # are part of the name
        rest = text[len(parts.scheme) + 1 :] if parts.scheme else text
        has_netloc = bool(parts.scheme) and rest.startswith("//")
        netloc, slash, path = rest[2:].partition("/") if has_netloc else ("", "", rest)
        return SplitResult(parts.scheme, netloc, slash + path, "", "")
    return parts


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _bad(sentence: str, hint: str) -> RejectError:
    return RejectError(sentence, hint=hint, field=FIELD, reason="BadUri")
