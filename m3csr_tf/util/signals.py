"""Answers SIGTERM, which schedulers send, and Ctrl-C with one message and the exit code 143 or 130, whenever they come.

Until a verb begins nothing has been written, and the process ends at once. While the verb works, the signal is raised
as `Stopped`, so that what is half-written is removed on the way out. Once the verb is done, a signal has no effect. A
signal that the process was started to ignore, as by `nohup` and by shells for background jobs, stays ignored.

This module imports nothing that Python has not imported already: until `answer`, a signal ends in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # Importing `typing` takes a hundredth of a second.
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

ANSWERED = (signal.SIGINT, signal.SIGTERM)
_MESSAGE = {
    signal.SIGINT: "interrupted; the same command goes on where it stopped\n",
    signal.SIGTERM: "terminated; the same command goes on where it stopped\n",
}
_SECONDS_BETWEEN_ALARMS = 0.05
"""Seconds after which a signal is raised again if Python could not pass on the first exception."""

_received: signal.Signals | None = None
_working = False


class Stopped(BaseException):
    """Raised when the process is asked to end. A KeyboardInterrupt would not do: Click has its own exit code for it."""


def answer() -> None:
    """Answers the signals from now on; only the main thread of a process of its own may call it."""
    global _received, _working
    _received, _working = None, False
    sys.unraisablehook = _unraisable
    for number in ANSWERED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def begin() -> None:
    """Marks that from now on there may be something to clean up."""
    global _working
    _working = True


def done() -> None:
    """Ignores signals from now on, because there is nothing left to stop."""
    for number in ANSWERED:
        signal.signal(number, signal.SIG_IGN)


def received() -> bool:
    """Returns whether the process has been asked to end; whatever a library then raises is a consequence of that."""
    return _received is not None


def leave() -> NoReturn:
    """Ends a process that was asked to end, with one message and without waiting for other threads."""
    assert _received is not None
    try:
        sys.stdout.flush()
    except Exception:  # The reader of a pipe may be gone, or the signal came in the middle of a line.
        pass
    try:
        os.write(2, _MESSAGE[_received].encode())
    except OSError:
        pass
    os._exit(128 + _received)


def _stop(number: int, frame: FrameType | None) -> None:
    global _received
    done()  # Further signals would interrupt the cleaning up.
    _received = signal.Signals(number)
    if not _working:
        leave()
    raise Stopped


def _unraisable(unraisable: Any) -> None:
    """Raises a signal again that was raised in a destructor or a callback, where Python prints it and goes on."""
    if unraisable.exc_type is not Stopped:
        sys.__unraisablehook__(unraisable)
        return
    signal.signal(signal.SIGALRM, _stop_again)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_ALARMS)


def _stop_again(number: int, frame: FrameType | None) -> None:
    raise Stopped
