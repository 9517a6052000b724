"""An HTTP connection that a slow client cannot hold for long: uvicorn itself waits for a request without a limit.

A client has `Limits.grace` seconds to send a request or read an answer, and one more for every `Limits.rate` bytes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits

FULL = b"""HTTP/1.1 503 Service Unavailable\r
Content-Type: application/json\r
Content-Length: 61\r
Retry-After: 5\r
Connection: close\r
\r
{"error":"Too many clients are connected: try again later."}
"""
TICK = 1.0  # seconds between two looks at a connection


class Connection(H11Protocol):
    """One connection; `limits` is set by `connections`."""

    limits: ClassVar[Limits] = Limits()
    phase = ""
    since = 0.0
    moved = 0
    left = 0

    def connection_made(self, transport: Any) -> None:
        """Start watching; refuse a connection of which there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.write(FULL)
            transport.close()
            return
        self.since = self.loop.time()
        self.loop.call_later(TICK, self._look)

    def data_received(self, data: bytes) -> None:
        """Count what arrives."""
        if self.phase == "reading":
            self.moved += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Start counting again for the next request of this connection."""
        self.phase = ""
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Never called: there are no web sockets."""
        raise NotImplementedError

    def _should_upgrade(self) -> bool:
        return False

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; too large headers with 431."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        reason = b"Request Header Fields Too Large" if status == 431 else b"Bad Request"
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            text = b"The headers are too large.\n" if status == 431 else b"This is not a valid HTTP request.\n"
            answer = h11.Response(status_code=431 if status == 431 else 400, headers=head, reason=reason)
            for part in (answer, h11.Data(data=text), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _look(self) -> None:
        """Cut the connection if the client is too slow; else look again."""
        lost = self not in self.connections and self.transport.get_write_buffer_size() == 0
        if lost and self.transport.is_closing():
            return
        left = self.transport.get_write_buffer_size()
        phase = self._phase(left)
        if phase != self.phase:
            self.phase, self.since, self.moved = phase, self.loop.time(), 0
        elif phase == "writing":
            self.moved += max(0, self.left - left)
        self.left = left
        allowed = self.limits.grace + self.moved / self.limits.rate
        if phase != "waiting" and self.loop.time() - self.since > allowed:
            self.transport.abort()
            return
        self.loop.call_later(TICK, self._look)

    def _phase(self, left: int) -> str:
        """Return what the client is doing: reading an answer, sending a request, or waiting for us."""
        if left:
            return "writing"
        return "reading" if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) else "waiting"


def connections(limits: Limits) -> type[asyncio.Protocol]:
    """Return the class of connections with these limits."""
    return type("Connection", (Connection,), {"limits": limits})
