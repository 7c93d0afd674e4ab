"""What stands before every route: the bearer token, the time limit, metrics, log lines, and an answer to any error."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from m3csr_tf.config import ServiceConfig
from m3csr_tf.service.measures import Measures
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger("m3csr_tf.service")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEALTH, READY = "/healthz", "/readyz"
OPEN = frozenset({HEALTH, READY})
"""Routes that need no token, since who probes a service has none."""


class Guard:
    """An ASGI application around another one.

    Args:
      app: the application.
      config: limits, and what is logged.
      token: the bearer token that requests must bring; None asks nobody.
      measures: what is counted.
      routes: paths that metrics name; others count as "other".

    Attributes:
      draining: whether clients are asked to open new connections, since this process is to end.
    """

    def __init__(
        self, app: Any, config: ServiceConfig, token: str | None, measures: Measures, routes: frozenset[str]
    ) -> None:
        self._app = app
        self._config = config
        self._token = None if token is None else token.encode()
        self._measures = measures
        self._routes = routes
        self.draining = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        arriving = False
        size = 0

        async def received() -> Message:
            nonlocal arriving, size
            arriving = True
            message = await receive()
            arriving = False
            size += len(message.get("body", b""))
            if size > self._config.max_body_bytes:
                raise self._too_large()
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.draining:
                    message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        try:
            if not self._is_allowed(scope):
                what = "this needs the header Authorization: Bearer TOKEN with the token of service.token_file"
                await answer(sent, 401, what, [(b"www-authenticate", b"Bearer")])
            elif self._announces_too_much(scope):
                await answer(sent, 413, self._too_large().detail, [(b"connection", b"close")])
            else:
                async with asyncio.timeout(self._config.timeout_s):
                    await self._app(scope, received, sent)
        except TimeoutError:
            if status == 0:
                limit = f"{self._config.timeout_s:g} s (service.timeout_s)"
                if arriving:
                    await answer(sent, 408, f"the request did not arrive within {limit}", [(b"connection", b"close")])
                else:
                    await answer(sent, 504, f"no answer within {limit}; ask for less, or later")
        except Exception as error:
            logger.error("%s %s: %s", scope["method"], self._route(scope), self._described(error))
            if status == 0:
                await answer(sent, 500, "an error of the service, which its log describes")
        finally:
            seconds = time.perf_counter() - began
            route = self._route(scope)
            self._measures.requests.labels(route, str(status or "none")).inc()
            self._measures.seconds.labels(route).observe(seconds)
            if self._config.log != "errors":
                ids = scope.get("m3csr_ids")
                of = f" {', '.join(map(quoted, ids))}" if ids and self._config.log == "ids" else ""
                logger.info("%s %s %s %.1f ms%s", scope["method"], route, status or "none", 1000 * seconds, of)

    def _is_allowed(self, scope: MutableMapping[str, Any]) -> bool:
        if self._token is None or scope["path"] in OPEN:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        kind, _, token = given[0].partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)

    def _announces_too_much(self, scope: MutableMapping[str, Any]) -> bool:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return any(length.isdigit() and int(length) > self._config.max_body_bytes for length in lengths)

    def _too_large(self) -> HTTPException:
        limit = f"{self._config.max_body_bytes:,} bytes (service.max_body_bytes)"
        return HTTPException(413, f"the body is larger than {limit}; divide the request", {"Connection": "close"})

    def _route(self, scope: MutableMapping[str, Any]) -> str:
        return scope["path"] if scope["path"] in self._routes else "other"

    def _described(self, error: Exception) -> str:
        """What and where an error was; its message may name ids, which a log holds only where it was asked for."""
        if self._config.log == "ids":
            return "".join(traceback.format_exception(error))
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames[-6:]))
        return f"{type(error).__name__} at {places}"


async def answer(send: Send, status: int, error: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Sends an error as JSON (`schemas.Problem`)."""
    body = json.dumps({"error": error}).encode()
    length = (b"content-length", str(len(body)).encode())
    fields = [(b"content-type", b"application/json"), length, *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
