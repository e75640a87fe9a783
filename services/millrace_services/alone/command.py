"""Serve an ONNX model on this machine, with no cluster."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar, Final

import typer

from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.alone import example
from millrace_services.inference.app import InferenceServer
from millrace_services.inference.served import ServedModel
from millrace_services.inference.session import ModelSession
from millrace_services.inference.settings import InferenceSettings
from millrace_services.inference.supervisor import Supervisor
from millrace_services.web import server
from millrace_services.web.service import Service

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"


class AloneSettings(InferenceSettings):
    """Those of a pod, which options of the command set."""

    body_limit: ClassVar[str] = "MILLRACE_MAX_BODY_BYTES"
    host_setting: ClassVar[str] = "--host"
    port_setting: ClassVar[str] = "--port"
    grpc_port_setting: ClassVar[str] = "--grpc-port"


def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The ONNX file.", show_default=False)],
    name: Annotated[str, typer.Option(help="The name in its URL; by default that of the file.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of HTTP.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of gRPC; without it HTTP alone is served.")
    ] = None,
    device: Annotated[Device, typer.Option(help="auto: the GPU where there is one.")] = Device.AUTO,
) -> None:
    """Serves an ONNX model on this machine, with no cluster, until Ctrl-C.

    It is the server that runs in the pods of a ModelDeployment: the same answers, batching, limits and /metrics. Its
    settings, beside the options here, are environment variables: docs/serving.md.
    """
    settings = AloneSettings.load(environment(model, name, host, port, grpc_port, device))
    with TemporaryDirectory(prefix="millrace-") as folder:
        code = server.run(
            settings,
            partial(_server, folder=Path(folder)),
            supervise=Supervisor(_tell).run,
            shown=MillraceError.advice,
        )
    raise typer.Exit(code)


def _server(settings: AloneSettings, folder: Path) -> Service:
    return InferenceServer(settings, on_serving=partial(_say, settings, folder)).service


def environment(
    model: Path, name: str, host: str, port: int, grpc_port: int | None, device: Device
) -> Mapping[str, str]:
    """What a pod would have in its environment.

    Raises:
        RejectError: there is no such file, or the name is none of a URL.
    """
    if not model.is_file():
        raise RejectError(f"there is no file {model}" if not model.exists() else f"{model} is no file")
    chosen = name or re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).strip("-._")[:63] or "model"
    if not _NAME.fullmatch(chosen):
        raise RejectError(
            f"--name {chosen!r} came; up to 63 letters, digits, '.', '_' and '-' are expected, a letter or digit first"
        )
    return {
        "MILLRACE_LOG_LEVEL": "WARNING",
        "MILLRACE_DRAIN_SECONDS": "0",
        "MILLRACE_GRACE_SECONDS": "1",
        **os.environ,
        "MILLRACE_MODEL_NAME": chosen,
        "MILLRACE_MODEL_PATH": str(model),
        "MILLRACE_HOST": host,
        "MILLRACE_PORT": str(port),
        "MILLRACE_DEVICE": device.value,
        **({} if grpc_port is None else {"MILLRACE_GRPC_PORT": str(grpc_port)}),
    }


def _say(settings: AloneSettings, folder: Path, model: ServedModel, session: ModelSession) -> None:
    url = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}"
    for line in example.lines(settings.path, model, session, url, settings.grpc_port, folder):
        typer.echo(line)


def _tell(error: MillraceError) -> None:
    print(f"millrace: {error.advice()}", file=sys.stderr)  # noqa: T201 the one line a person reads
