"""Explains in plain words what the system refuses: a full disk, a place that must not be written, too little memory."""

from __future__ import annotations

import errno
import os
import re

from m3csr_tf.util.files import Obstacle
from m3csr_tf.util.quoting import printable

LONGEST = 300
"""Largest number of characters of a message from TensorFlow, which may name every tensor."""
_FULL = {errno.ENOSPC: "full", errno.EDQUOT: "full for this user", errno.EFBIG: "full, or a file has grown too large"}
_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_KNOWN = (*_FULL, *_RIGHTS, errno.EIO)
AGAIN = "the same command then goes on where it stopped"


def reason(error: OSError) -> str:
    """Says what was refused and what to do about it, for the end of a message."""
    message = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return f"the disk is {_FULL[error.errno]} ({message}): make room; {AGAIN}"
    if error.errno in _RIGHTS:
        return f"it may not be read or written ({message}): check the rights; {AGAIN}"
    return message if isinstance(error, Obstacle) else f"{message}; check the disk and the rights"


def behind(message: str) -> OSError | None:
    """Returns the system's error in a message of TensorFlow, which passes on its text alone; None if there is none."""
    number = next((number for number in _KNOWN if os.strerror(number).lower() in message.lower()), None)
    return None if number is None else OSError(number, os.strerror(number))


def in_short(message: str) -> str:
    """Returns the first line of a message from TensorFlow without the names of its graph; of a file, only its path."""
    lines = re.sub(r"\{\{.*?\}\} ?| ?\[Op:.*?\]", "", message).strip().splitlines()
    path, semicolon, _ = (lines[0] if lines else "TensorFlow failed").partition("; ")
    return printable((path if semicolon and path.startswith("/") else "".join(lines[:1]))[:LONGEST])
