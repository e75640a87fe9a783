"""The model that a server serves: what it is called, which version it is, and its data plane once it is loaded."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from millrace_core.api.modeldeployment_model import DIGEST_PATTERN
from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_core.identity.model_version import model_version
from millrace_services.inference import model_files
from millrace_services.inference.dataplane import DataPlane


@dataclass(frozen=True)
class ServedModel:
    """What answers, headers, metrics and logs call it.

    Attributes:
        name: the one in ``/v2/models/{name}``.
        digest: of its file, ``sha256:`` and 64 hex digits.
        deployment: name of the ModelDeployment.
    """

    name: str
    digest: str
    deployment: str = ""

    @property
    def version(self) -> str:
        """The one in ``/v2/models/{name}/versions/{version}``."""
        return model_version(self.digest)

    def described(self) -> dict[str, str]:
        """As answers of ``/predict`` have it."""
        return {"name": self.name, "version": self.version, "deployment": self.deployment, "digest": self.digest}


class Serving:
    """A model, and its data plane where it is loaded; what translators and control routes ask.

    Args:
        patience: seconds that a prediction waits for a model that is still loading. In the place of a server that
            crashed it is what a prediction may wait for anyway; else 0, as nobody is sent to a server that starts.
        most: predictions that may wait for it.
    """

    def __init__(self, model: ServedModel, patience: float = 0.0, most: int = 1) -> None:
        self.model = model
        self.data: DataPlane | None = None
        self._patience = patience
        self._most = most
        self._waiting = 0
        self._loaded = asyncio.Event()

    def set_loaded(self, data: DataPlane) -> None:
        """The model can be asked from now on."""
        self.data = data
        self._loaded.set()

    def loaded(self) -> DataPlane:
        """The model's data plane.

        Raises:
            RetryError: it is not loaded yet.
        """
        if self.data is None:
            raise RetryError("the model is still loading", hint="Wait for /v2/health/ready", reason="NotReady", delay=1)
        return self.data

    async def ready(self) -> DataPlane:
        """The same for predictions, which wait for as long as ``patience`` says."""
        if self.data is None and self._patience and self._waiting < self._most:
            self._waiting += 1
            try:
                await asyncio.wait_for(self._loaded.wait(), self._patience)
            except TimeoutError:
                pass
            finally:
                self._waiting -= 1
        return self.loaded()

    def known(self, name: str, version: str | None = None) -> None:
        """Checks a model's name and version.

        Raises:
            NotFoundError: this server serves another one.
        """
        if name != self.model.name:
            raise NotFoundError(f"there is no model {name!r} here", hint=f"This server serves {self.model.name!r}")
        served = self.model.version
        if version not in (None, served):
            raise NotFoundError(
                f"model {name!r} has no version {version!r} here", hint=f"This server serves version {served!r}"
            )


def measured(path: Path) -> str:
    """The digest of a model: as ``fetch`` noted it, else by reading its files.

    Raises:
        RejectError: there is no such file, or one beside it is missing (``BadModel``).
    """
    if not path.is_file():
        raise RejectError(f"there is no model file {path}", field="MILLRACE_MODEL_PATH", reason="BadModel")
    noted = model_files.digest_file(path)
    text = noted.read_text() if noted.is_file() else ""
    if re.fullmatch(DIGEST_PATTERN, text):
        return text
    try:
        return model_files.measured(path).digest
    except OSError as error:
        raise RejectError(
            f"{path} needs {error.filename}, which cannot be read: {error.strerror}",
            hint="Put the files with its external data beside it",
            field="MILLRACE_MODEL_PATH",
            reason="BadModel",
        ) from error
