"""The service as people run it: the script in a process of its own, which no test leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

import m3csr_tf

SCRIPT = Path(m3csr_tf.__file__).parents[1] / "pipelines" / "serve.py"
DEADLINE = 240.0
"""Seconds in which anything must have happened, on a machine that is busy with other tests."""


class RunningService:
    """`pipelines/serve.py` on a release's folder, on a free port; `with` ends it.

    Attributes:
      url: where it answers.
      lines: what it has printed, on stdout and stderr.
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.lines: list[str] = []
        command = [sys.executable, str(SCRIPT), f"run.name={folder.name}", f"run.release_folder={folder.parent}"]
        environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [*command, "service.port=0", *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder.parent,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> RunningService:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        line = self.said("answers on http")
        return line.split("answers on ")[1].split(";")[0]

    def said(self, text: str) -> str:
        """The first line with a text, once there is one."""
        return until(lambda: next((line for line in self.lines if text in line), None), self)

    def workers(self) -> list[int]:
        """Ids of the worker processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(one) for one in path.read_text().split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, and returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


def until(look: Callable[[], Any], service: RunningService) -> Any:
    """What is seen once there is something, before the deadline and the end of the process."""
    began = time.monotonic()
    while not (seen := look()):
        ended = service.process.poll() is not None
        seen = look() if ended else None  # It may have come just before the end.
        if seen:
            break
        assert not ended and time.monotonic() - began < DEADLINE, "\n".join(service.lines)
        time.sleep(0.02)
    return seen


class Asking:
    """Threads that ask for lists, one request after the other, over connections that are kept; `with` ends them.

    Attributes:
      versions: that answered, in order of the answers.
      failures: of requests, as text.
    """

    def __init__(self, url: str, threads: int = 2) -> None:
        self._url = url
        self._stopped = threading.Event()
        self.versions: list[int] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=DEADLINE) as client:
            while not self._stopped.is_set():
                try:
                    answer = client.post("/v1/recommend", json={"users": [{"user_id": "u"}], "n": 3})
                    if answer.status_code == 200:
                        self.versions.append(answer.json()["version"])
                    else:
                        self.failures.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                time.sleep(0.01)
