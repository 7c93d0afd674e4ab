"""What the system refuses while a verb works (disk, rights, memory), as one message: of Python or TensorFlow."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from m3csr_tf.errors import ResourceError
from m3csr_tf.quoting import printable
from m3csr_tf.refusals import AGAIN, reason

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_LONGEST = 300
"""Characters of what TensorFlow says: it may name every tensor."""


@contextmanager
def system_errors() -> Iterator[None]:
    """Gives the errors of the system inside the block as one message each.

    Raises:
      ResourceError: the disk is full, a file may not be read or written, or there is not enough memory.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno == errno.EPIPE:  # Of no file; or the reader of a pipe is gone.
            raise
        place = "" if error.filename is None else f"{printable(os.fsdecode(error.filename))}: "
        raise ResourceError(f"{place}{reason(error)}") from None
    except MemoryError as error:
        raise ResourceError(_of_memory(str(error))) from None
    except tf.errors.OpError as error:
        refused = _refused(error)
        if refused is not None:
            raise ResourceError(f"{_said(error)}: {reason(refused)}") from None
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise ResourceError(_of_memory(_said(error))) from None
        raise


def _refused(error: tf.errors.OpError) -> OSError | None:
    """The error of the system behind one of TensorFlow's, which knows it by its words alone."""
    number = next((number for number in _REFUSED if os.strerror(number).lower() in str(error.message).lower()), None)
    if number is None and isinstance(error, tf.errors.PermissionDeniedError):
        number = errno.EACCES
    return None if number is None else OSError(number, os.strerror(number))


def _said(error: tf.errors.OpError) -> str:
    """The first line of what TensorFlow says, without the names of its graph; of a file, its path alone."""
    lines = re.sub(r"\{\{.*?\}\} ?| ?\[Op:.*?\]", "", str(error.message)).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    path, semicolon, _ = said.partition("; ")
    return printable((path if semicolon and path.startswith("/") else said)[:_LONGEST])


def _of_memory(said: str) -> str:
    said = said or "an allocation failed"
    return f"there is not enough memory ({printable(said[:_LONGEST])}): give the process more, or ask for less; {AGAIN}"
