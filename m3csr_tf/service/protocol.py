"""HTTP as uvicorn speaks it, with limits of what comes before a request's body, for which uvicorn has none.

Without them, a client can hold a connection for ever by sending a header a minute, or fill the memory with one.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
"""Largest size of a request's address and headers, which is also what the parser allows for an address."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose requests must have heads of at most `HEAD_BYTES`, which arrive within a time.

    A connection that has not begun a request for the time of an idle one is closed as well. Subclasses set the times.
    """

    head_seconds: float
    """How long address and headers of a request may take to arrive, from their first byte."""
    idle_seconds: float
    """How long a new connection may send nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.idle_seconds, transport.close)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if not self._head_bytes:
                self._stop_timer()
                self._timer = self.loop.call_later(self.head_seconds, self._refuse_slow)
            self._head_bytes += len(data)
        super().data_received(data)
        # What came together with the rest of a head, such as a body, is not counted.
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", f"the headers are larger than {HEAD_BYTES:,} bytes")

    @override
    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def _refuse_slow(self) -> None:
        if not self.transport.is_closing():
            limit = f"{self.head_seconds:g} s (service.timeout_s)"
            self._refuse(b"408 Request Timeout", f"the request did not arrive within {limit}")

    def _refuse(self, status: bytes, error: str) -> None:
        """Answers and closes, unless an earlier request is still being answered: then it closes alone."""
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps({"error": error}).encode()
            fields = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + fields + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(head_seconds: float, idle_seconds: float) -> type[BoundedProtocol]:
    """The protocol with times, in seconds (`BoundedProtocol`)."""
    times = {"head_seconds": head_seconds, "idle_seconds": idle_seconds}
    return type("BoundedProtocol", (BoundedProtocol,), times)
