"""Starts worker processes that train together on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

DEADLINE = 600.0
"""Seconds that a few steps of a small model may take."""


def start_workers(command: Sequence[str], count: int = 2) -> list[subprocess.Popen]:
    """`count` processes of a Python command, each with its TF_CONFIG, the chief first."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    tree = {"cluster": {"worker": hosts}}
    return [start(command, json.dumps(tree | {"task": {"type": "worker", "index": place}})) for place in range(count)]


def start(command: Sequence[str], tf_config: str = "{}") -> subprocess.Popen:
    """A process of a Python command, without GPUs; several of them would share one."""
    environment = os.environ | {"TF_CONFIG": tf_config, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, **pipes)  # type: ignore[call-overload]


def outputs(processes: Sequence[subprocess.Popen]) -> list[str]:
    """Waits for processes to end, and returns what they printed; kills them if one does not end."""
    try:
        return [process.communicate(timeout=DEADLINE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
