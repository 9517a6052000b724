"""What every request passes first: the host, the origin, the token and the size; and the headers of every answer.

A page of another site that is open in the same browser must not reach the server: neither by a form (`Origin`,
`Sec-Fetch-Site`), nor by a name that resolves to this computer (`Host`). There are no cookies, and CORS is off.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits, Refusal

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
SAFE = ("GET", "HEAD", "OPTIONS")


class TooLarge(HTTPException):
    """The body has more bytes than are possible; an HTTPException, which FastAPI passes on while it reads a body."""


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        hosts: possible values of the header Host, without the port.
        token: what a client must know; None if none is needed.
        limits: of the server.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None, limits: Limits) -> None:
        self.app, self.hosts, self.token, self.limits = app, set(hosts), token, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/page/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refused(refusal)(scope, receive, with_headers)
            return
        await self.app(scope, self._bounded(scope, receive), with_headers)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is refused before its body is read, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_of(host) not in self.hosts:
            return Refusal(403, "This host name is not served: use the address that `i2i serve` printed.")
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if scope["method"] not in SAFE and (
            foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        ):
            return Refusal(403, "Requests of pages of other sites are refused.")
        if scope["path"].startswith(("/v1/", "/metrics")) and not self._knows(headers):
            return Refusal(401, "A token is needed: send the header Authorization: Bearer TOKEN.")
        if headers.get("content-encoding", "identity").lower() != "identity":
            return Refusal(415, "Compressed requests are refused: send the body as it is.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.body:
            return too_large(self.limits)
        return None

    def _knows(self, headers: Headers) -> bool:
        """Return whether a request has the token."""
        if self.token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Return `receive` with a limit on the bytes of the body, which need not have a length."""
        read, headers = 0, Headers(scope=scope)
        limit = self.limits.body if headers.get("content-type", "").startswith("multipart/") else self.limits.text

        async def bounded() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                error = too_large(self.limits, limit)
                raise TooLarge(error.status, error.sentence, {"Connection": "close"})
            return message

        return bounded


def host_of(header: str) -> str:
    """Return the name in a header Host, without the port, in lower case; "[::1]:80" -> "::1"."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def too_large(limits: Limits, limit: int | None = None) -> Refusal:
    """Return the refusal of a body that is too large."""
    return Refusal(413, f"The request has more than {limit or limits.body:,} bytes: send a smaller picture.")


def refused(refusal: Refusal) -> JSONResponse:
    """Return the answer to a request that is refused; the rest of its body is not read."""
    headers = {}
    if refusal.status in (403, 413, 415):
        headers["Connection"] = "close"
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry)))
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers)
