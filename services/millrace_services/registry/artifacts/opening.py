"""Which place a setting names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.registry.artifacts.folder import FolderPlace
from millrace_services.registry.artifacts.place import Content, Entry, Place, Upload
from millrace_services.registry.mlflow.errors import MlflowError

SETTING: Final = "MILLRACE_ARTIFACTS"
_BESIDE: Final = "artifacts"


def opened(setting: str, database_file: str, environ: Mapping[str, str]) -> Place:
    """The place of a setting: an absolute path, a ``file://`` or an ``s3://`` URI.

    Args:
        setting: empty: a folder beside the database, where that is a file.
        database_file: its path; empty where it is none.
        environ: has the credentials.

    Raises:
        RejectError: the setting names no place, or one that cannot be used.
    """
    if not setting:
        return FolderPlace(Path(database_file).parent / _BESIDE) if database_file else NoPlace()
    if setting.startswith("s3://"):
        # Arrow takes half a second to import, and a hundred megabytes.
        from millrace_services.registry.artifacts.bucket import BucketPlace  # noqa: PLC0415

        return BucketPlace(setting.rstrip("/"), environ)
    path = unquote(setting.removeprefix("file://")) if setting.startswith("file:///") else setting
    if not path.startswith("/"):
        raise RejectError(
            f"{shown(setting, 200)} came, an absolute path or s3://bucket/prefix is expected",
            field=SETTING,
            reason="BadArtifacts",
        )
    return FolderPlace(Path(path))


class NoPlace:
    """Stands where nobody said where files are to lie."""

    def listed(self, path: str) -> list[Entry]:
        """Raises ``MlflowError``."""
        raise _nowhere(path)

    def opened(self, path: str) -> Content:
        """Raises ``MlflowError``."""
        raise _nowhere(path)

    def upload(self, path: str) -> Upload:
        """Raises ``MlflowError``."""
        raise _nowhere(path)

    def delete(self, path: str) -> None:
        """Raises ``MlflowError``."""
        raise _nowhere(path)


def _nowhere(path: str) -> MlflowError:
    sentence = f"This server keeps no files, so not {shown(path, 200)}: {SETTING} names no folder and no bucket of S3"
    return MlflowError("NOT_IMPLEMENTED", 501, sentence)
