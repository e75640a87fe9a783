"""A model as it lies in a folder: the ONNX file, and the files beside it that hold some of its tensors.

Where there are such files, the model's digest is that of a list of all, as ``sha256sum`` prints it: the model's own
file first, as ``-``, then the others sorted by name. Of a model in one file it is the digest of that file. So both can
be computed by hand::

    (sha256sum < model.onnx; sha256sum a.bin weights/b.bin) | sha256sum
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_data.objects import uri
from millrace_services.inference import onnx_proto

# Exporters write one file, or one a tensor.
MOST_FILES: Final = 4096
# What is written beside a model: the note of its digest, and parts of files while they are fetched.
DIGEST: Final = ".digest"
PART: Final = ".part"
_ITSELF: Final = "-"


class Downloaded(NamedTuple):
    """A whole file, or a whole model: its digest as ``sha256:<hex>`` and its size in bytes."""

    digest: str
    bytes: int


def digest_file(model: Path) -> Path:
    """Where the digest of a fetched model is written, so that the server need not read the files twice."""
    return model.with_name(model.name + DIGEST)


def names_beside(file: Path, model: Path, shown: str) -> list[str]:
    """The files, beside an ONNX file, that it needs: paths below its folder, sorted.

    Args:
        file: the ONNX file itself.
        model: where it is going to lie; names that are taken there are refused.
        shown: how messages call it.

    Raises:
        RejectError: it is no ONNX model, or names a file outside of its folder, or too many (``BadModel``).
    """
    found: dict[str, str] = {}
    for name in onnx_proto.external_files(file, shown):
        path = uri.relative(name)
        if path is None:
            raise _reject(shown, f"in {name[:200]!r}, which is no file of its folder", "save_as_external_data")
        if path.split("/")[0].startswith(model.name):
            raise _reject(shown, f"in {path[:200]!r}, a name that is taken here", "another name")
        found[path] = name
    if len(found) > MOST_FILES:
        raise _reject(shown, f"in {len(found)} files, {MOST_FILES} are the most", "all_tensors_to_one_file=True")
    paths = sorted(found)
    for path in paths:
        if any(other.startswith(f"{path}/") for other in paths) or path.endswith(PART):
            raise _reject(shown, f"in {path[:200]!r}, which is a folder as well, or ends with {PART}", "another name")
    return paths


def combined(own: Downloaded, beside: Mapping[str, Downloaded]) -> Downloaded:
    """Digest and size of a model, from those of its own file and of the files beside it, by name."""
    if not beside:
        return own
    files = [(_ITSELF, own), *sorted(beside.items())]
    lines = "".join(f"{file.digest.removeprefix('sha256:')}  {name}\n" for name, file in files)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return Downloaded(f"sha256:{digest}", sum(file.bytes for _, file in files))


def digest(path: Path) -> Downloaded:
    """Digest and size of one file."""
    with path.open("rb") as file:
        return Downloaded(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}", path.stat().st_size)


def measured(model: Path) -> Downloaded:
    """Digest and size of a model, with all its files.

    A file that is no model, or that names files outside of its folder, counts by itself: it will not load.

    Raises:
        OSError: a file is missing, or cannot be read.
    """
    try:
        names = names_beside(model, model, str(model))
    except RejectError:
        names = []
    return combined(digest(model), {name: digest(model.parent / name) for name in names})


def _reject(shown: str, where: str, mend: str) -> RejectError:
    return RejectError(
        f"{shown} has external data {where}",
        hint=f"Export it with its external data beside it, in few files (onnx.save, {mend})",
        field="spec.model.uri",
        reason="BadModel",
    )
