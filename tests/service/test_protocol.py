"""What comes before a request's body has a largest size and a longest time, and a connection that says nothing ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn

from m3csr_tf.service.protocol import HEAD_BYTES, bounded

HEAD = b"POST / HTTP/1.1\r\nHost: service\r\nContent-Length: %d\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers how long the body was."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def asked(
    ask: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, bytes]],
    head_seconds: float = 60.0,
    idle_seconds: float = 60.0,
) -> bytes:
    """What `ask` returns of a connection to a server of the protocol."""

    async def serve() -> bytes:
        http = bounded(head_seconds, idle_seconds)
        server = uvicorn.Server(uvicorn.Config(app, port=0, http=http, lifespan="off", log_level="error"))
        serving = asyncio.create_task(server._serve())
        async with asyncio.timeout(60):
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await ask(reader, writer)
            finally:
                writer.close()
                server.should_exit = True
                await serving

    return asyncio.run(serve())


def sent(*pieces: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, bytes]]:
    """Sends pieces one after the other, and reads until the server closes the connection."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await reader.read()

    return ask


def test_a_head_that_is_too_large_is_refused_before_it_has_ended() -> None:
    answer = asked(sent(HEAD % 0 + b"X: ", *[b"x" * 20_000] * 4))
    assert answer.startswith(b"HTTP/1.1 431 ") and b'{"error": "the headers are larger than 65,536 bytes"}' in answer


def test_a_head_that_arrives_too_slowly_is_refused() -> None:
    answer = asked(sent(HEAD % 0 + b"X: "), head_seconds=0.2)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error": "the request did not arrive within 0.2 s (service.timeout_s)"}' in answer


def test_a_connection_that_says_nothing_is_closed() -> None:
    assert asked(sent(), idle_seconds=0.2) == b""


def test_a_large_body_and_several_requests_of_a_connection_are_no_large_head() -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        # The first is in one piece with its body, the second has a head in two pieces, the last two come together.
        body = b"x" * (3 * HEAD_BYTES)
        writer.write(HEAD % len(body) + b"\r\n" + body)
        answers = await reader.readuntil(b"%d" % len(body))
        writer.write(HEAD % 0 + b"X: " + b"x" * 40_000)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"\r\n\r\n")
        answers += await reader.readuntil(b"\r\n\r\n0")
        writer.write((HEAD % 1 + b"\r\nx") * 2)
        for _ in range(2):
            answers += await reader.readuntil(b"\r\n\r\n1")
        return answers

    assert asked(ask, head_seconds=30.0).count(b"200 OK") == 4


def test_the_time_of_a_head_begins_with_its_first_byte_on_a_connection_that_is_kept() -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for _ in range(2):
            writer.write(HEAD % 1 + b"\r\nx")
            answer = await reader.readuntil(b"\r\n\r\n1")
            await asyncio.sleep(0.4)
        return answer

    # Between the two the connection is idle for longer than a head may take.
    assert b"200 OK" in asked(ask, head_seconds=0.2)
