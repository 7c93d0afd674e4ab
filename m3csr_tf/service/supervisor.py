"""The process that owns the listening socket and has a worker process for the current version of a release.

When another version becomes current, its worker is started beside the old one and opens it. Once it accepts connections
the old worker drains and ends, so no request fails, and all memory of the old version goes back to the system.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import m3csr_tf
from m3csr_tf import columns
from m3csr_tf.config import Config, ServiceConfig
from m3csr_tf.errors import ConfigError, M3CSRError, ReleaseError
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.service.assignment import Assignment
from m3csr_tf.service.bearer_token import read_token
from m3csr_tf.service.certificate import check_certificate
from m3csr_tf.util.quoting import one_line, quoted

logger = logging.getLogger("m3csr_tf.service")

_BACKLOG = 2048
"""Connections that wait to be accepted."""
_RETRY = 60.0
"""Seconds after which a version that could not be opened is tried again."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a worker that ended by itself is replaced; doubled from the first to the longest."""
_STABLE = 60.0
"""Seconds after which a worker counts as one that does not end by itself."""
_GRACE = 5.0
"""Seconds that a worker may take to end beyond what it may take for its requests."""


class Supervisor:
    """Serves the current version of a release until it is interrupted.

    Args:
      config: names the release, and holds the settings of the service.
      say: prints a line for people.

    Raises:
      ConfigError: the address cannot be listened on, or the files of token, certificate or key cannot be used.
      ReleaseError: there is no release.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._service = config.service
        self._folder = config.release_folder.absolute()
        self._manifest = manifests.read(self._folder / columns.MANIFEST)
        self._token = read_token(config.service.token_file)
        check_certificate(config.service)
        self._socket = listening(config.service)
        self._selector = selectors.DefaultSelector()
        self._current: _Worker | None = None
        self._coming: _Worker | None = None
        self._leaving: list[_Worker] = []
        self._seen: tuple[int, int] | None = None
        self._refused: tuple[str, float] | None = None
        self._answered: dict[str, Any] | None = None
        """The manifest of the version that answered last, from which a worker that dies is replaced."""
        self._failed: str | None = None
        """The fingerprint of the version that was started last in place of a worker, if it could not be opened."""
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._service.tls_certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Serves until an exception, such as `signals.Stopped`, ends it; then all workers end.

        Raises:
          M3CSRError: the first version cannot be opened.
        """
        if self._token is None and not ipaddress.ip_address(self._socket.getsockname()[0]).is_loopback:
            self._say("whoever reaches this address may ask: set service.token_file, or let a proxy ask who they are")
        try:
            self._current = self._start(self._manifest, at_once=True)
            self._say(f"{self._folder.name} on {self.url}: version {self._current.version} is being opened")
            while True:
                for key, _ in self._selector.select(self._service.poll_s):
                    self._hear(key.data)
                self._reap()
                self._follow()
        finally:
            self._stop()

    def _start(self, manifest: dict[str, Any], at_once: bool) -> _Worker:
        assignment = Assignment(
            folder=str(self._folder),
            version=manifest["version"],
            descriptor=self._socket.fileno(),
            at_once=at_once,
            threads=self._config.run.threads,
            token=self._token,
            service=self._service.model_dump(mode="json"),
            retrieve=self._config.retrieve.model_dump(mode="json"),
            similar=self._config.similar.model_dump(mode="json"),
            cold=self._config.cold.model_dump(mode="json"),
        )
        worker = _Worker(assignment, manifest)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        for said in worker.said():
            if "failed" in said:
                worker.error = said["failed"]
            elif "ready" in said:
                worker.is_ready = True
                self._answered = worker.manifest
                self._say(f"version {worker.version} answers on {self.url}; ctrl-c stops")
                if worker is self._coming:
                    if self._current is not None:
                        self._current.drain(self._service)
                        self._leaving.append(self._current)
                    self._current, self._coming = worker, None

    def _reap(self) -> None:
        """Looks which workers have ended, and what follows from it."""
        now = time.monotonic()
        for worker in list(self._leaving):
            if worker.has_ended():
                self._forget(worker)
                self._leaving.remove(worker)
            elif now > worker.until:
                logger.warning("the process of version %d does not end and is killed", worker.version)
                worker.process.kill()
        if self._coming is not None and self._coming.has_ended():
            failed, self._coming = self._coming, None
            self._hear(failed)
            self._forget(failed)
            self._refused = (failed.fingerprint, now + _RETRY)
            logger.error("version %d could not be opened: %s; the one before goes on", failed.version, failed.reason())
        if self._current is not None and self._current.has_ended():
            ended, self._current = self._current, None
            self._hear(ended)
            self._forget(ended)
            if not ended.is_ready and ended.is_first:
                raise M3CSRError(ended.reason())
            self._failed = None if ended.is_ready else ended.fingerprint
            self._pause = _FIRST_PAUSE if now - ended.began > _STABLE else min(2 * self._pause, _LONGEST_PAUSE)
            self._not_before = now + self._pause
            logger.error("the process of version %d ended: %s; another one is started", ended.version, ended.reason())
        if self._current is None and now >= self._not_before:
            # The version that answered last is known to be whole, and a newer one is opened beside it (`_follow`).
            # If it cannot be opened any more, as when it has been pruned, both are tried in turn.
            known = self._answered
            if known is None or known["fingerprint"] == self._failed:
                known = self._manifest
            self._current = self._start(known, at_once=True)
            self._current.is_first = False

    def _follow(self) -> None:
        """Starts a worker for the version that the manifest names, if that is another one than is served or opened.

        It waits for the worker of the version before last, so that no more than two versions are in memory.
        """
        path = self._folder / columns.MANIFEST
        try:
            stat = path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns)
            if seen != self._seen:
                self._manifest = manifests.read(path)
                self._seen = seen
        except (OSError, ReleaseError) as error:
            if self._seen is not None:
                logger.error("the manifest cannot be followed: %s", error)
            self._seen = None
            return
        wanted = self._manifest["fingerprint"]
        if self._current is None or self._coming is not None or self._leaving:
            return
        refused = self._refused is not None and self._refused[0] == wanted and time.monotonic() < self._refused[1]
        if wanted != self._current.fingerprint and not refused:
            self._coming = self._start(self._manifest, at_once=False)

    def _forget(self, worker: _Worker) -> None:
        self._selector.unregister(worker.output)
        worker.close()

    def _stop(self) -> None:
        """Ends all workers, once they have answered the requests that they have."""
        self._socket.close()
        workers = [one for one in (self._current, self._coming, *self._leaving) if one is not None]
        for worker in workers:
            worker.stop()
        until = time.monotonic() + self._service.timeout_s + _GRACE
        for worker in workers:
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.close()
        self._selector.close()


class _Worker:
    """A worker process as the supervisor sees it.

    Attributes:
      manifest, fingerprint: of its version.
      output: what it says comes here.
      is_ready: whether it answers from its release.
      is_first: whether no other has been ready before it.
      until: when it must have ended, once it drains.
    """

    def __init__(self, assignment: Assignment, manifest: dict[str, Any]) -> None:
        self.version = assignment.version
        self.manifest = manifest
        self.fingerprint: str = manifest["fingerprint"]
        self.began = time.monotonic()
        self.is_ready = False
        self.is_first = True
        self.until = float("inf")
        self.error: str | None = None
        self._rest = b""
        package = str(Path(m3csr_tf.__file__).parents[1])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "m3csr_tf.service.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[assignment.descriptor],
            env=os.environ | {"PYTHONPATH": paths},
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        self._tell(assignment.to_line())

    def said(self) -> list[dict[str, Any]]:
        """What it has said since the last call."""
        found = []
        while chunk := self._read():
            self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError):  # A library that prints.
                logger.warning("%s", one_line(line.decode(errors="replace")))
        return found

    def drain(self, service: ServiceConfig) -> None:
        """Asks it to end without failing a request."""
        self.until = time.monotonic() + service.drain_s + service.timeout_s + _GRACE
        self._tell(b"drain\n")

    def stop(self) -> None:
        """Asks it to end once it has answered the requests that it has."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            pass

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def reason(self) -> str:
        """Why it has ended."""
        if self.error is not None:
            return self.error
        code = self.process.returncode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"it ended {how}, and may have said why above"

    def close(self) -> None:
        """Closes the pipes of a process that is gone."""
        self.stop()
        self.output.close()

    def _tell(self, line: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line)
        except BrokenPipeError:
            pass  # It has just ended, which will be noticed.

    def _read(self) -> bytes:
        if self.output.closed:
            return b""
        try:
            return self.output.read(65_536) or b""
        except BlockingIOError:
            return b""


def listening(service: ServiceConfig) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
      ConfigError: the address is unknown, taken, or not for this user.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            service.host, service.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"service.host={quoted(service.host)}: no such address ({error})") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"service.host={service.host} service.port={service.port}: cannot be listened on "
            f"({error.strerror or error}); choose another port, e.g. service.port=0 for a free one"
        ) from None
    return found
