"""SIGTERM, which schedulers send, and Ctrl-C: one message and the exit code 143 or 130, at whatever moment they come.

Until a verb begins nothing has been written, and the process ends at once. While it works, the signal is raised as
`Stopped`, so that what is half-written is removed on the way out. Once it is done, a signal changes nothing any more.
One that the process was started to ignore, as `nohup` and shells do for background jobs, stays ignored.

Nothing is imported here that Python has not imported already: until `answer`, a signal ends in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # `typing` takes a hundredth of a second.
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

ANSWERED = (signal.SIGINT, signal.SIGTERM)
_MESSAGE = {
    signal.SIGINT: "interrupted; the same command goes on where it stopped\n",
    signal.SIGTERM: "terminated; the same command goes on where it stopped\n",
}
_SECONDS_BETWEEN_ALARMS = 0.05
"""Seconds after which a signal is raised once more where Python could not pass the first exception on."""

_received: signal.Signals | None = None
_working = False


class Stopped(BaseException):
    """The process has been asked to end. No KeyboardInterrupt: Click would make an exit code of its own of that."""


def answer() -> None:
    """Answers the signals from now on; for the main thread of a process of its own."""
    global _received, _working
    _received, _working = None, False
    sys.unraisablehook = _unraisable
    for number in ANSWERED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def begin() -> None:
    """From now on there may be something to clean up."""
    global _working
    _working = True


def done() -> None:
    """From now on signals are passed over: there is nothing left to stop."""
    for number in ANSWERED:
        signal.signal(number, signal.SIG_IGN)


def received() -> bool:
    """Whether the process has been asked to end; what a library raises then follows from that, whatever it says."""
    return _received is not None


def leave() -> NoReturn:
    """Ends the process that was asked to, with one message, without waiting for other threads."""
    assert _received is not None
    try:
        sys.stdout.flush()
    except Exception:  # A reader of a pipe may be gone, or the signal have come in the midst of a line.
        pass
    try:
        os.write(2, _MESSAGE[_received].encode())
    except OSError:
        pass
    os._exit(128 + _received)


def _stop(number: int, frame: FrameType | None) -> None:
    global _received
    done()  # One is enough: what follows is cleaning up.
    _received = signal.Signals(number)
    if not _working:
        leave()
    raise Stopped


def _unraisable(unraisable: Any) -> None:
    """Python prints what is raised in a destructor or a callback, and goes on; a signal is raised again elsewhere."""
    if unraisable.exc_type is not Stopped:
        sys.__unraisablehook__(unraisable)
        return
    signal.signal(signal.SIGALRM, _stop_again)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_ALARMS)


def _stop_again(number: int, frame: FrameType | None) -> None:
    raise Stopped
