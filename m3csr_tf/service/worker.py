"""The process that answers from one version: started by the supervisor, on whose listening socket it accepts.

It gets its settings as one JSON object in a line on stdin, and says on stdout, as JSON lines, that it is ready or why
it cannot be. The line "drain" on stdin asks it to end without failing a request: it accepts no more connections, asks
clients to open new ones, and ends when the last connection has. At the end of stdin, as when the supervisor is gone, or
on SIGTERM it ends as soon as the requests that it has are answered.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import uvicorn

from m3csr_tf.config import ColdConfig, RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.errors import ConfigError, M3CSRError, ReleaseError
from m3csr_tf.service.app import Opened, State, build_app
from m3csr_tf.service.assignment import Assignment
from m3csr_tf.service.certificate import check_certificate
from m3csr_tf.service.guard import Guard
from m3csr_tf.service.measures import Measures
from m3csr_tf.service.protocol import bounded
from m3csr_tf.util.quoting import one_line
from m3csr_tf.util.terminal import LogFormatter

logger = logging.getLogger("m3csr_tf.service")

_LOOK = 0.05
"""Seconds between two looks at the connections that are left."""
_QUIET = 4
"""Looks without a connection after which none is on its way any more."""
_REMEMBERED = 10_000
"""Warnings that are not repeated."""


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the worker has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop_accepting(self) -> None:
        """Closes this process's copy of the listening socket; connections that are there go on."""
        for server in self.servers:
            server.close()


def main() -> None:
    """Runs the worker; the process ends with exit code 1 if the release cannot be opened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says what to do.
    # Unbuffered: what follows the line is for the event loop.
    commands = os.fdopen(0, "rb", buffering=0, closefd=False)
    line = commands.readline()
    if not line.endswith(b"\n"):
        return  # The supervisor has ended before it has said what to do.
    assignment = Assignment.from_line(line)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(message)s"))
    handler.addFilter(_Once())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logger.setLevel(logging.INFO)
    ended = asyncio.run(_run(assignment, commands))
    sys.stdout.flush()
    sys.exit(ended)


async def _run(assignment: Assignment, commands: IO[bytes]) -> int:
    return await _Worker(assignment).run(commands)


class _Worker:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._service = ServiceConfig.model_validate(assignment.service)
        self._retrieve = RetrieveConfig.model_validate(assignment.retrieve)
        self._similar = SimilarConfig.model_validate(assignment.similar)
        self._cold = ColdConfig.model_validate(assignment.cold)
        self._measures = Measures()
        self._state = State()
        self._guard: Guard = build_app(
            self._service, self._retrieve, self._similar, self._state, self._measures, assignment.token
        )
        self._server = _Server(_uvicorn_config(self._guard, self._service))
        self._socket = socket.socket(fileno=assignment.descriptor)
        self._ending = asyncio.Event()
        self._at_once = False

    async def run(self, commands: IO[bytes]) -> int:
        try:
            check_certificate(self._service)  # The files may have been exchanged since the supervisor looked at them.
        except ConfigError as error:
            _report(failed=one_line(str(error)))
            return 1
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, True)
        await loop.connect_read_pipe(lambda: _Commands(self._end), commands)
        serving: asyncio.Task[Any] | None = None
        if self._assignment.at_once:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        opening = asyncio.ensure_future(loop.run_in_executor(None, self._open))
        waiting: asyncio.Future[Any] = asyncio.create_task(self._ending.wait())
        either: list[asyncio.Future[Any]] = [opening, waiting]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            os._exit(0)  # Nothing has been promised to anybody, and the thread that opens cannot be stopped.
        try:
            self._state.opened = opened = await opening
        except M3CSRError as error:
            _report(failed=one_line(str(error)))
            self._server.should_exit = True
            if serving is not None:
                await serving
            return 1
        # What is open stays: looking through its millions of objects for garbage would stop all answers every now and
        # then for a tenth of a second.
        gc.collect()
        gc.freeze()
        endless = (opened.batcher.run(), opened.by_rules.run(), self._follow(opened))
        following = [asyncio.create_task(one) for one in endless]
        if serving is None:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.01)
        if self._server.started:  # If it is not, why is raised below, and the supervisor keeps the version before.
            _report(ready=self._assignment.version)
        await asyncio.wait([waiting, serving, *following], return_when=asyncio.FIRST_COMPLETED)
        for task in following:
            if task.done():  # None ever returns; the supervisor starts another process.
                task.result()
        if not self._at_once:
            await self._drained()
        self._server.should_exit = True
        await serving
        waiting.cancel()
        for task in following:
            task.cancel()
        opened.retriever.close()
        return 0

    def _open(self) -> Opened:
        if self._assignment.threads:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(self._assignment.threads)
            tf.config.threading.set_inter_op_parallelism_threads(self._assignment.threads)
        from m3csr_tf.service.neighbours import OnlineNeighbours
        from m3csr_tf.service.retriever import open_retriever

        service = self._service
        folder, version = Path(self._assignment.folder), self._assignment.version
        retriever = open_retriever(folder, version, self._retrieve, self._cold, service)
        neighbours = OnlineNeighbours(retriever, self._similar, service.similar_by, self._cold, service.age_lag_s)
        return Opened.of(retriever, neighbours, service, self._measures.batch_users.observe)

    async def _follow(self, opened: Opened) -> None:
        """Takes in what is refreshed, until it is cancelled; a broken journal is logged once."""
        broken = False
        while True:
            await asyncio.sleep(self._service.poll_s)
            try:
                changed = await opened.retriever.catch_up()
            except ReleaseError as error:
                if not broken:
                    logger.error("refreshes are not taken in any more: %s", error)
                broken = True
                self._measures.refresh_fails.set(1)
            else:
                broken = False
                self._measures.refresh_fails.set(0)
                self._measures.changes.inc(changed)

    def _end(self, at_once: bool) -> None:
        self._at_once = self._at_once or at_once
        self._ending.set()

    async def _drained(self) -> None:
        """Waits until all connections have ended, which clients are asked for with every answer, or the time is up."""
        self._guard.draining = True
        self._server.stop_accepting()
        loop = asyncio.get_running_loop()
        until, quiet = loop.time() + self._service.drain_s, 0
        while quiet < _QUIET and loop.time() < until and not self._at_once:
            quiet = 0 if self._server.server_state.connections else quiet + 1
            await asyncio.sleep(_LOOK)


class _Once(logging.Filter):
    """Lets a warning of the batch jobs' code through once: what it says of filters is said again whenever they are."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("m3csr_tf.batch."):
            return True
        said = record.getMessage()
        is_new = said not in self._said
        if len(self._said) < _REMEMBERED:
            self._said.add(said)
        return is_new


class _Commands(asyncio.Protocol):
    """What the supervisor says on stdin."""

    def __init__(self, end: Callable[[bool], None]) -> None:
        self._end = end

    def data_received(self, data: bytes) -> None:
        if data.strip():
            self._end(False)

    def eof_received(self) -> None:
        self._end(True)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(True)


def _report(**said: Any) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def _uvicorn_config(app: Guard, service: ServiceConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=bounded(service.timeout_s, service.keep_alive_s),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=service.keep_alive_s,
        timeout_graceful_shutdown=int(service.timeout_s) + 1,
        backlog=2048,
        ssl_certfile=service.tls_certificate,
        ssl_keyfile=service.tls_key,
    )


if __name__ == "__main__":
    main()
