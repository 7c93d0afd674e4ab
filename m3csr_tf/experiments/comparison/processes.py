"""A verb of this package in a process of its own: its log, why it failed, its time and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import m3csr_tf
from m3csr_tf.errors import RunError
from m3csr_tf.util.quoting import printable

_END_WITH_PARENT = """
import ctypes, os, signal, sys
parent = int(sys.argv.pop(1))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: be terminated when the parent ends.
    if os.getppid() != parent:
        sys.exit("the process that began this one has ended")
"""
"""A verb that outlived a killed experiment would go on unseen, and hold its run."""
_VERB = "from m3csr_tf.main import main; main()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LONGEST_LINE = 400
_PATIENCE = 20.0
"""Seconds that a process has to end after it was asked to, before it is killed."""


@dataclass(frozen=True)
class Ended:
    """How a process has ended.

    Attributes:
      seconds: from its start to its end.
      cpu_seconds: that processors have worked for it, which other processes of the machine change little.
      peak_gib: the most memory that it had resident at a time, in GiB, as the system counts it.
    """

    seconds: float
    cpu_seconds: float
    peak_gib: float


class Stopping(Exception):
    """Processes are being stopped, so no other one is begun."""


def command(verb: str, config: Path) -> str:
    """What one would type for the same."""
    return f"m3csr {verb} --config {config}"


class Processes:
    """Processes that run at the same time, each begun and waited for by a thread of this one."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, verb: str, config: Path, threads: int, log: Path) -> Ended:
        """Runs a verb to its end; its output is appended to `log`.

        Args:
          verb: e.g. "train".
          config: file of its whole configuration.
          threads: of the libraries in it that count threads by themselves; 0: as many as they like.
          log: the file.

        Raises:
          RunError: it has failed; the message is its own last one.
          Stopping: processes are being stopped.
        """
        environment = dict(os.environ)
        # The package that runs this, also where another one is installed.
        package = str(Path(m3csr_tf.__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
        if threads:
            environment |= dict.fromkeys(_THREADS, str(threads))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            start = stream.tell()
            stream.write(f"$ {command(verb, config)}\n".encode())
            stream.flush()
            began = time.monotonic()
            with self._lock:
                if self._stopping:
                    raise Stopping
                process = subprocess.Popen(
                    [sys.executable, "-c", _END_WITH_PARENT + _VERB, str(os.getpid()), verb, "--config", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
                self._running.add(process)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            finally:
                with self._lock:
                    self._running.discard(process)
            process.returncode = os.waitstatus_to_exitcode(status)
        if self._stopping and process.returncode:
            raise Stopping
        if process.returncode:
            raise RunError(f"{verb}: {_last_words(log, start, process.returncode)} (log: {log})")
        return Ended(
            round(time.monotonic() - began, 1), round(usage.ru_utime + usage.ru_stime, 1), usage.ru_maxrss / 2**20
        )

    def stop(self) -> None:
        """Asks all processes to end, and kills those that do not."""
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for process in running:
            process.terminate()
        until = time.monotonic() + _PATIENCE
        while self._running and time.monotonic() < until:
            time.sleep(0.05)
        with self._lock:
            for process in self._running:
                process.kill()


def _last_words(log: Path, start: int, code: int) -> str:
    """Why a process has failed: its message to the user, or its last line, or its exit code."""
    with log.open("rb") as stream:
        stream.seek(start)
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()[1:] if line.strip()]
    message = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    if message is None:
        ended = f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        message = f"{ended}, its last line being: {lines[-1]}" if lines else ended
    return printable(message)[:_LONGEST_LINE]
