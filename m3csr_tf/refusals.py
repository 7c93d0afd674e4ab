"""What the system refuses, in plain words: a full disk, a place that may not be written, memory that is not there."""

from __future__ import annotations

import errno

_FULL = {errno.ENOSPC: "full", errno.EDQUOT: "full for this user", errno.EFBIG: "full, or a file has grown too large"}
_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
AGAIN = "the same command then goes on where it stopped"


def reason(error: OSError) -> str:
    """What was refused and what to do about it, for the end of a message."""
    said = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return f"the disk is {_FULL[error.errno]} ({said}): make room; {AGAIN}"
    if error.errno in _RIGHTS:
        return f"it may not be read or written ({said}): check the rights; {AGAIN}"
    return f"{said}; check the disk and the rights"
