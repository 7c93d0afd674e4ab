"""Writes files under a temporary name and renames them, so that readers see the whole old file or the whole new one.

This holds after a power cut, too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m3csr_tf.util.progress import ProgressCallback

_AT_ONCE = 1 << 20
"""Number of bytes of a file that are digested at once."""


class Obstacle(OSError):
    """An obstacle where this package has to write a file of its own; the message says what to do about it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and renames it to `path` if the block succeeds.

    No other process uses the same temporary path, on whatever machine that shares the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Any) -> None:
    """Replaces a JSON file atomically."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


def sync(path: Path) -> None:
    """Waits until a file, or the list of names of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Waits until a folder and everything below it is on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def regular(path: Path) -> Path:
    """Returns the path if it is a regular file or a link to one, because reading a pipe or a device may never end.

    Raises:
      OSError: there is nothing, or something else than a regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def sha256(path: Path, on_progress: ProgressCallback | None = None) -> str:
    """Returns the SHA-256 of a file, in hex.

    Args:
      path: the path of the file.
      on_progress: progress callback, which gets the number of bytes that are read and of all bytes.

    Raises:
      OSError: the file is not a regular one, or cannot be read.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_AT_ONCE))
    with regular(path).open("rb", buffering=0) as stream:
        done, size = 0, path.stat().st_size
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if on_progress is not None:
                on_progress(min(done, size), size)
    return digest.hexdigest()
