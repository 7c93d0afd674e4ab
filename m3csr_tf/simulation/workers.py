"""Runs every day of an arm in a process of its own, which frees what TensorFlow keeps of a release or a training.

The processes are forked from one that has imported TensorFlow but has not begun to use it, so a new one starts at once.
What they print goes to a log; how far they are, and how they end, comes through a pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from m3csr_tf.errors import M3CSRError, RunError
from m3csr_tf.util.quoting import one_line
from m3csr_tf.util.terminal import log_to_stderr

_STAGE, _DONE, _REFUSED, _BROKEN = range(4)


def run(
    work: Callable[..., None], args: tuple[Any, ...], log: Path, on_progress: Callable[[int, str], None], what: str
) -> None:
    """Runs `work(report, *args)` in a new process and waits for its end; ends it if this process is interrupted.

    Args:
      work: a function of a module; it calls report(done, stage).
      args: the arguments of `work` after `report`.
      log: the file to which its output is appended.
      on_progress: is called with what `work` reports.
      what: what the process works on, for messages.

    Raises:
      RunError: `work` failed; the message is that of its error, or names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, log, work, args), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            try:
                kind, *message = ours.recv()
            except EOFError:
                process.join()
                raise RunError(
                    f"{what}: its process has ended without a word (exit code {process.exitcode}; -9 is a kill, "
                    "perhaps for want of memory); the same command goes on where it stopped"
                ) from None
            if kind == _STAGE:
                on_progress(*message)
            elif kind == _REFUSED:
                raise RunError(f"{what}: {message[0]}")
            elif kind == _BROKEN:
                raise RunError(f"{what}: {message[0]}; the end of {log} says where")
            else:
                break
        process.join()
    finally:
        if process.is_alive():
            process.kill()  # Nothing is half-written: files are renamed when whole.
            process.join()
        ours.close()


def _work(pipe: Connection, log: Path, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent receives it too, and decides.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    log_to_stderr()
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        work(lambda done, stage: pipe.send((_STAGE, done, stage)), *args)
    except M3CSRError as error:
        pipe.send((_REFUSED, str(error)))
    except Exception as error:
        traceback.print_exc()
        pipe.send((_BROKEN, one_line(f"{type(error).__name__}: {error}")))
    else:
        pipe.send((_DONE,))


def _end_with_parent(pipe: Connection) -> None:
    """Ends this process when its parent is gone, because nobody waits for it and the same command may run again."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(1)
