"""The application: routes, headers, errors, static files."""

from __future__ import annotations

import asyncio
import functools
import gzip
import importlib.resources
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import NightcastError
from streams.toolkit import api, api_system, orbit_pages, pages
from streams.toolkit.api_system import health_of
from streams.toolkit.service import Toolkit
from streams.views.errors import NotInViewError

__all__ = ["create_app"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""No page of ours can load anything from elsewhere; Plotly writes style attributes, hence its exception."""


def create_app(toolkit: Toolkit, *, follow: bool = True) -> FastAPI:
    """Return the web application of a toolkit.

    Parameters
    ----------
    toolkit
        Use cases and the view.
    follow
        Whether the view's reader is started with the application and stopped with it.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        toolkit.changes.attach(asyncio.get_running_loop())
        if follow:
            toolkit.view.reader.start()
        yield
        toolkit.changes.close()
        if follow:
            await asyncio.to_thread(toolkit.view.reader.stop)

    app = FastAPI(
        title="Nightcast alert toolkit",
        version="1",
        description="Alerts, objects, annotations and nights. 64-bit identifiers are text; times are MJD TAI.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.toolkit = toolkit
    app.add_middleware(_Headers)
    app.include_router(api.router)
    app.include_router(api_system.router)
    app.include_router(pages.router)
    app.include_router(orbit_pages.router)
    app.add_api_route("/health", functools.partial(health_of, toolkit), include_in_schema=False)
    app.add_api_route("/static/plotly.min.js", _plotly, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(NightcastError, _our_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


class _Headers:
    """Puts our headers on every answer; plain ASGI, so that streams of news pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        static = scope.get("path", "").startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _plotly(request: Request) -> Response:
    """Serve Plotly's script from its installed wheel, packed once."""
    headers = {"Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_packed_plotly(), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
    return Response(_plotly_source(), media_type="text/javascript", headers=headers)


def _plotly_source() -> bytes:
    return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()


@functools.cache
def _packed_plotly() -> bytes:
    return gzip.compress(_plotly_source(), compresslevel=5, mtime=0)


async def _our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NightcastError)
    status = 404 if isinstance(error, NotInViewError) else 503 if error.retriable else 422
    return await asyncio.to_thread(_answer, request, error.code, error.sentence, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = "There is no such page." if error.status_code == 404 else f"{error.detail}."
    return await asyncio.to_thread(_answer, request, "http", sentence, error.status_code)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    sentence = f"The parameter {'.'.join(map(str, first['loc'][1:]))} is wrong: {first['msg'].lower()}."
    return await asyncio.to_thread(_answer, request, "request", sentence, 422)


def _answer(request: Request, code: str, sentence: str, status: int) -> Response:
    if request.url.path.startswith("/api/v1"):
        return JSONResponse({"code": code, "sentence": sentence}, status_code=status)
    if request.url.path.startswith("/static"):
        return PlainTextResponse(sentence, status_code=status)
    return pages.page(request, "error.html", {"sentence": sentence, "status": status}, status)
