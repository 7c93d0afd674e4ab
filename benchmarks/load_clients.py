"""Clients of the online service, a process of their own that imports nothing large: `service_load.py` starts them.

    python benchmarks/load_clients.py PORT RATE REQUESTS

REQUESTS is a file of bodies, JSON lines. They ask until stdin ends, then print what they saw as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

MOST_CONNECTIONS = 512


@dataclass
class Load:
    """What clients saw.

    Attributes:
      sent: requests that were to be sent.
      milliseconds: of each request that was answered with 200.
      failures: what else happened, and how often.
      versions: that answered, and how often each.
    """

    sent: int = 0
    milliseconds: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Load) -> Load:
        """Returns what both saw together."""
        return Load(
            self.sent + other.sent,
            self.milliseconds + other.milliseconds,
            dict(Counter(self.failures) + Counter(other.failures)),
            dict(Counter(self.versions) + Counter(other.versions)),
        )

    def percentile(self, share: int) -> float:
        """Milliseconds; infinite where nothing was answered."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, len(ordered) * share // 100)] if ordered else float("inf")


class Clients:
    """Clients in one event loop, which keep their connections.

    Args:
      port: of the service on this machine.
      requests: whole requests as bytes, taken in turn.
    """

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open = asyncio.Semaphore(MOST_CONNECTIONS)
        self.load = Load()

    async def run(self, rate: float, ended: Callable[[], bool]) -> Load:
        """Sends requests at random moments, `rate` a second on average, until it is told to stop."""
        rng = random.Random(0)
        due = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        while not ended():
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._ask(self._requests[self.load.sent % len(self._requests)], due))
            self.load.sent += 1
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=30)
            self.load.failures |= {"no answer": len(late)} if late else {}
        for _, writer in self._idle:
            writer.close()
        return self.load

    async def _ask(self, request: bytes, due: float) -> None:
        try:
            async with self._open:
                status, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self._failed(type(error).__name__)
            return
        if status != 200:
            self._failed(f"status {status}")
            return
        # From the moment that it was due: a client that is late makes the service look no faster.
        self.load.milliseconds.append(1000 * (time.perf_counter() - due))
        version = body[body.index(b":") + 1 : body.index(b",")].decode().strip()
        self.load.versions[version] = self.load.versions.get(version, 0) + 1

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body

    def _failed(self, why: str) -> None:
        self.load.failures[why] = self.load.failures.get(why, 0) + 1


async def main(port: int, rate: float, path: Path) -> None:
    """Asks until stdin ends."""
    head = "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    bodies = path.read_bytes().splitlines()
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    loop = asyncio.get_running_loop()
    end = loop.run_in_executor(None, sys.stdin.read)
    print("begun", flush=True)
    load = await Clients(port, requests).run(rate, end.done)
    print(json.dumps(asdict(load)), flush=True)


def _loop() -> asyncio.AbstractEventLoop:
    # The usual selector, epoll, rounds waits up to whole milliseconds, by which all requests would be late.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
