"""MLflow's routes of the artifact proxy. Bodies go both ways piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from millrace_core.base.errors import TooLargeError
from millrace_services.registry.artifacts import paths
from millrace_services.registry.artifacts.place import Place, Upload, shown
from millrace_services.registry.mlflow import errors, routing
from millrace_services.registry.mlflow.errors import MlflowError
from millrace_services.web.service import Service

PREFIXES: Final = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")
_WRITTEN_AT_ONCE: Final = 1024 * 1024
_UNSAFE: Final = {"x-content-type-options": "nosniff"}

Json = dict[str, Any]


def install(service: Service, place: Place, most: int) -> None:
    """Adds the routes to a service.

    Args:
        most: bytes of one file.
    """
    routes = ArtifactRoutes(place, most)
    for prefix in PREFIXES:
        service.streams(prefix)
        one = prefix + "artifacts/{path:path}"
        _add(service, "GET", prefix + "artifacts", routes.list)
        _add(service, "GET", one, routes.get)
        _add(service, "PUT", one, routes.put)
        _add(service, "DELETE", one, routes.delete)
        _add(service, "POST", prefix + "mpu/{step}/{path:path}", _no_upload_in_parts)
        _add(service, "GET", prefix + "presigned/{path:path}", _no_download_in_parts)
        _add(service, "", prefix + "{rest:path}", _unknown)


class ArtifactRoutes:
    """The routes over a place of files."""

    def __init__(self, place: Place, most: int) -> None:
        self._place = place
        self._most = most

    async def list(self, request: Request) -> Response:
        """What is in a folder; nothing of a file, by which clients tell the two apart."""
        path = paths.checked(request.query_params.get("path", "").strip("/"))
        found = await run_in_threadpool(self._place.listed, path)
        return _json({"files": shown(found)} if found else {})

    async def get(self, request: Request) -> Response:
        """A file. A browser saves it, and runs nothing of it."""
        path = paths.below(request.path_params["path"])
        size, chunks = await run_in_threadpool(self._place.opened, path)
        name = quote(path.rpartition("/")[2])
        headers = {
            **_UNSAFE,
            "content-length": str(size),
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
        }
        return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)

    async def put(self, request: Request) -> Response:
        """Takes a file, which is there once all of it has come."""
        path = paths.below(request.path_params["path"])
        if int(request.headers.get("content-length", "0")) > self._most:
            raise self._too_large()
        upload = await run_in_threadpool(self._place.upload, path)
        try:
            await self._receive(request, upload)
            await run_in_threadpool(upload.finish)
        finally:
            await run_in_threadpool(upload.abandon)
        return _json({})

    async def delete(self, request: Request) -> Response:
        """Deletes a file or a folder, also one that is not there. Clients write a slash after a run's folder."""
        path = paths.below(request.path_params["path"].removesuffix("/"))
        await run_in_threadpool(self._place.delete, path)
        return _json({})

    async def _receive(self, request: Request, upload: Upload) -> None:
        size, pieces, held = 0, list[bytes](), 0
        async for piece in request.stream():
            size, held = size + len(piece), held + len(piece)
            if size > self._most:
                raise self._too_large()
            pieces.append(piece)
            if held >= _WRITTEN_AT_ONCE:
                await run_in_threadpool(upload.write, b"".join(pieces))
                pieces, held = [], 0
        if pieces:
            await run_in_threadpool(upload.write, b"".join(pieces))

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"the file is larger than {self._most} bytes", hint="Raise MILLRACE_MAX_ARTIFACT_BYTES of the registry"
        )


def _add(service: Service, method: str, path: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
    methods = [method] if method else ["GET", "POST", "PUT", "PATCH", "DELETE"]

    async def endpoint(request: Request) -> Response:
        return await _answered(answer, request)

    routing.add_control(service, path, methods, endpoint)


async def _answered(answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    try:
        return await answer(request)
    except ClientDisconnect:
        raise
    except Exception as error:  # every error has MLflow's form
        status, body, headers = errors.render(error)
        response = Response(body, status, media_type="application/json")
        response.raw_headers.extend(headers)
        return response


# Clients that were told to send or fetch files in parts know by these words that they are to do it whole.
async def _no_upload_in_parts(_: Request) -> Response:
    message = "Multipart upload is not supported for the current artifact repository"
    raise MlflowError("NOT_IMPLEMENTED", 501, message)


async def _no_download_in_parts(_: Request) -> Response:
    message = "Multipart download is not supported for the current artifact repository"
    raise MlflowError("NOT_IMPLEMENTED", 501, message)


async def _unknown(request: Request) -> Response:
    message = f"There is no route {request.method} {request.url.path[:200]!r} here"
    raise MlflowError("ENDPOINT_NOT_FOUND", 404, message)


def _json(content: Json) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
