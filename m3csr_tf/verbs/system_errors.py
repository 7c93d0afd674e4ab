"""Converts errors of the operating system (disk, rights, memory), raised by Python or TensorFlow, into one message."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from m3csr_tf.errors import ResourceError
from m3csr_tf.util.quoting import printable
from m3csr_tf.util.refusals import AGAIN, LONGEST, behind, in_short, reason


@contextmanager
def system_errors() -> Iterator[None]:
    """Converts errors of the operating system that are raised in the block.

    Raises:
      ResourceError: the disk is full, a file cannot be read or written, or there is not enough memory.
    """
    try:
        yield
    except OSError as error:
        # Without errno it does not come from the operating system; EPIPE says that the reader of a pipe has gone.
        if error.errno is None or error.errno == errno.EPIPE:
            raise
        place = "" if error.filename is None else f"{printable(os.fsdecode(error.filename))}: "
        raise ResourceError(f"{place}{reason(error)}") from None
    except MemoryError as error:
        raise ResourceError(_of_memory(str(error))) from None
    except tf.errors.OpError as error:
        message = str(error.message)
        refused = behind(message)
        if refused is not None:
            raise ResourceError(f"{in_short(message)}: {reason(refused)}") from None
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise ResourceError(_of_memory(in_short(message))) from None
        raise


def _of_memory(message: str) -> str:
    message = message or "an allocation failed"
    return (
        f"there is not enough memory ({printable(message[:LONGEST])}): give the process more, or ask for less; {AGAIN}"
    )
