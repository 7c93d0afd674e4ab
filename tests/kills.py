"""What tests of kill -9 and of signals share: work in a process of its own that is ended at a random moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START = 240
"""Seconds that a process may take until it begins to work."""


def killed_after(moment: float | Callable[[], bool], work: Callable[..., None], *args: Any) -> float:
    """Runs `work(begin, *args)` in a new process, and kills it some time after it has called `begin`.

    Args:
      moment: seconds, or what is to be true.
      work: a function of a module.
      args: its arguments.

    Returns:
      Seconds that it worked.

    The process is forked from one that has imported TensorFlow and nothing else, which takes no time.
    """
    process = begun(work, *args)
    began = time.perf_counter()
    if callable(moment):
        while not moment():
            assert process.is_alive() and time.perf_counter() - began < START, "the process failed, or got nowhere"
            time.sleep(0.01)
    else:
        time.sleep(moment)
    worked = time.perf_counter() - began
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return worked


def signalled_after(seconds: float, number: int, work: Callable[..., None], *args: Any) -> int:
    """As `killed_after`, by another signal; waits for the process to end, and returns its exit code."""
    process = begun(work, *args)
    process.join(seconds)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)
    process.join(START)
    assert process.exitcode is not None, "the process does not end"
    return process.exitcode


def running(begin: Callable[[], None], verb: str, config: Path, output: Path, *overrides: str) -> None:
    """Runs a verb as its script does, with all that it prints in a file."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = [verb, "--config", str(config), *overrides]
    from m3csr_tf.main import main
    from m3csr_tf.util import signals

    signals.answer()  # A script does this first; on a busy machine the signal may come before `main` has done it.
    begin()
    main(verb)


def begun(work: Callable[..., None], *args: Any) -> Any:
    """A new process that has called `begin`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["m3csr_tf.verbs.run_all"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, work, args), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(START), "the process did not begin"
    try:
        ours.recv()
    except EOFError:
        raise AssertionError("the process failed before it began") from None
    return process


def _work(begun: Connection, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    work(lambda: begun.send(None), *args)


def acknowledge(path: Path, number: int) -> None:
    """Notes that a step has returned; what is written so survives the process."""
    with path.open("a") as stream:
        stream.write(f"{number}\n")


def acknowledged(path: Path) -> int:
    """The last step that has returned; 0 when none has."""
    return max((int(line) for line in path.read_text().splitlines()), default=0) if path.exists() else 0
