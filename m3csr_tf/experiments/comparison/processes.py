"""Runs a verb of this package in a process of its own, and measures its time and memory."""

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
"""The code with which a verb's process begins. A verb that outlived a killed experiment would go on unseen, and hold
its run.
"""
_VERB = "from m3csr_tf.main import main; main()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LONGEST_LINE = 400
_PATIENCE = 20.0
"""Seconds that a process has to end after it was asked to, before it is killed."""


@dataclass(frozen=True)
class Ended:
    """The measurements of a process that has ended.

    Attributes:
      seconds: seconds from its start to its end.
      cpu_seconds: processor time, on which other processes of the machine have little effect.
      peak_gib: its largest resident memory, in GiB, as the system measures it.
    """

    seconds: float
    cpu_seconds: float
    peak_gib: float


class Stopping(Exception):
    """Raised because processes are being stopped, so that no other one is started."""


def command(verb: str, config: Path) -> str:
    """Returns the command line that does the same."""
    return f"m3csr {verb} --config {config}"


class Processes:
    """Processes that run at the same time; a thread of this process starts each and waits for it."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, verb: str, config: Path, threads: int, log: Path) -> Ended:
        """Runs a verb to its end, and appends its output to `log`.

        Args:
          verb: e.g. "train".
          config: the file of its whole configuration.
          threads: number of threads of those libraries in it that choose a number themselves; 0 leaves the choice to
            them.
          log: the log file.

        Raises:
          RunError: the verb failed; the message is its last one.
          Stopping: processes are being stopped.
        """
        environment = dict(os.environ)
        # The verb is that of this package, even where another version of it is installed.
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
    """Returns why a process failed: its error message, or its last line, or its exit code."""
    with log.open("rb") as stream:
        stream.seek(start)
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()[1:] if line.strip()]
    message = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    if message is None:
        ended = f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        message = f"{ended}, its last line being: {lines[-1]}" if lines else ended
    return printable(message)[:_LONGEST_LINE]
