"""Model version: which model answers.

A model is the bytes of its file, so its version is the SHA-256 digest of these bytes, shown as the first 8 hex digits.
It changes when the bytes change, and with nothing else: the place the file lies at, the image and the device that run
it, limits, defaults, the deployment's name and the release of Millrace leave it as it is. Two deployments that serve
the same file serve one version, and a file that is put back is the version it was before. URLs, headers, metrics,
logs, ``status.model`` and the records of predictions speak of it. It is known once a pod has measured the file.
"""

from __future__ import annotations

from typing import Final

_SHOWN: Final = 8


def model_version(digest: str) -> str:
    """The version of the model with this digest (``sha256:`` and 64 hex digits): the first 8 of them."""
    return digest.removeprefix("sha256:")[:_SHOWN]
