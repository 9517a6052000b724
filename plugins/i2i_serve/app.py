"""The application: the routes, the page, and errors as one sentence each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp

from i2i import __version__

from . import computing, routes
from .guard import Guard, refused
from .limits import Refusal
from .server import State

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take this method."}
NOTHING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>i2i: nothing here</title>
<link rel="stylesheet" href="/page/style.css"></head>
<body><header><h1>i2i</h1></header>
<main><p class="notice">{sentence} <a href="/">To the pictures</a></p></main></body></html>
"""
FILES = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES} if PAGE.is_dir() else {}


def application(state: State, hosts: Collection[str], token: str | None) -> ASGIApp:
    """Return the ASGI application.

    Args:
        state: what the routes use.
        hosts: possible names of the server.
        token: what clients must know; None if none is needed.
    """
    app = FastAPI(
        title="i2i",
        version=__version__,
        description="Translate, sample and edit pictures with the models of i2i.",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
    )
    app.state.server = state
    app.include_router(routes.router)
    app.include_router(computing.router)
    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/page/{name}", page, include_in_schema=False)
    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_bug)
    return Guard(app, hosts, token, state.limits, state.counts)


async def page(name: str = "index.html") -> Response:
    """Return a file of the page; there are only those that are in the package."""
    path = FILES.get(name)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


async def on_refusal(request: Request, error: Any) -> Response:
    """Answer with the sentence of a refusal."""
    return refused(error)


async def on_http(request: Request, error: Any) -> Response:
    """Answer with a sentence."""
    sentence = SENTENCES.get(error.status_code, str(error.detail))
    if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):  # somebody with a browser
        return HTMLResponse(NOTHING.format(sentence=sentence), 404)
    response = refused(Refusal(error.status_code, sentence))
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(methods(request))
    return response


def methods(request: Request) -> list[str]:
    """Return the methods that an address takes; Starlette would only say those of the first route that fits."""
    ours: list[Any] = [*routes.router.routes, *computing.router.routes]
    fitting = [route for route in ours if route.path_regex.match(request.scope["path"])]
    return sorted({method for route in fitting for method in route.methods}) or ["GET"]


async def on_invalid(request: Request, error: Any) -> Response:
    """Answer with the first thing that is wrong."""
    return refused(Refusal(422, computing.sentence(error.errors())))


async def on_gone(request: Request, error: Any) -> Response:
    """Answer nobody: the client has gone."""
    return Response(status_code=400)


async def on_bug(request: Request, error: Any) -> Response:
    """Answer without any detail, which is printed."""
    traceback.print_exception(error, file=sys.stderr)
    return refused(Refusal(500, "The server failed; its log says why."))
