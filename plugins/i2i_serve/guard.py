"""What every request passes first: the host, the origin, the token and the size; and the headers of every answer.

A page of another site that is open in the same browser must not reach the server: neither by a form (`Origin`,
`Sec-Fetch-Site`), nor by a name that resolves to this computer (`Host`). There are no cookies, and CORS is off.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .counts import Counts
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
HEADERS = 16_000  # bytes
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
        counts: of answers, by route and status.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], token: str | None, limits: Limits, counts: Counts
    ) -> None:
        self.app, self.hosts, self.token, self.limits, self.counts = app, set(hosts), token, limits, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        body = Body(receive, Headers(scope=scope), self.limits)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] >= 400 and not await body.dropped():
                    headers["Connection"] = "close"  # else the rest would still be read
                self.counts.answered(getattr(scope.get("route"), "path", "other"), message["status"])
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/page/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refused(refusal)(scope, receive, with_headers)
            return
        await self.app(scope, body.receive, with_headers)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is refused before its body is read, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_of(host) not in self.hosts and not is_address(host_of(host)):
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
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS:
            return Refusal(431, f"The headers have more than {HEADERS:,} bytes.")
        length, most = headers.get("content-length", "0"), limit_of(headers, self.limits)
        if not length.isdecimal() or int(length) > most:
            return too_large(most)
        return None

    def _knows(self, headers: Headers) -> bool:
        """Return whether a request has the token."""
        if self.token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


class Body:
    """The body of a request, with a limit on its bytes; it need not say its length.

    Attributes:
        complete: whether all of it has been read.
    """

    def __init__(self, receive: Receive, headers: Headers, limits: Limits) -> None:
        self.more, self.read = receive, 0
        self.limit = limit_of(headers, limits)
        length = headers.get("content-length", "0")
        self.complete = length == "0" and "transfer-encoding" not in headers
        self.hopeless = not length.isdecimal() or int(length) > self.limit or "expect" in headers

    async def receive(self) -> Message:
        """Return the next message. Raises: TooLarge."""
        message = await self.more()
        self.read += len(message.get("body", b""))
        if self.read > self.limit:
            error = too_large(self.limit)
            raise TooLarge(error.status, error.sentence)
        self.complete = self.complete or not message.get("more_body", False)
        return message

    async def dropped(self) -> bool:
        """Read the rest of a body that is refused, within the limit; return whether it is complete.

        A client that is still sending would not see the answer if the connection were closed at once. With the header
        Expect it has not begun to send, and is not asked to.
        """
        with suppress(TooLarge):
            while not self.complete and not self.hopeless and self.read <= self.limit:
                await self.receive()
        return self.complete


def host_of(header: str) -> str:
    """Return the name in a header Host, without the port, in lower case; "[::1]:80" -> "::1"."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def is_address(host: str) -> bool:
    """Return whether a host is given by its number: unlike a name, it cannot be made to mean another computer."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def limit_of(headers: Headers, limits: Limits) -> int:
    """Return how many bytes a body may have: only forms have files."""
    return limits.body if headers.get("content-type", "").startswith("multipart/") else limits.text


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more bytes than this."""
    return Refusal(413, f"The request has more than {limit:,} bytes: send a smaller picture.")


def refused(refusal: Refusal) -> JSONResponse:
    """Return the answer to a request that is refused; the rest of its body is not read."""
    headers = {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry)))
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers)
