"""Writing beside and renaming: a reader sees the old file or the new one, whole, also after a power cut."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds that one waits for a lock without a word: most are held for less."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and renames it onto `path` if the block succeeds.

    The path is no other process's either, on whatever machine that shares the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield beside
        sync(beside)
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file at once."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Any) -> None:
    """Replaces a JSON file at once."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Waits until a folder and all below it are on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock among processes, waiting for it if need be; it goes with the process that holds it, however it ends.

    Args:
      path: the lock's file, which stays. Not on a network file system without `flock`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        until = time.monotonic() + _PATIENCE
        while not _taken(stream):
            if time.monotonic() > until:
                logger.warning("%s: another process holds it; waiting", path)
                fcntl.flock(stream, fcntl.LOCK_EX)
                break
            time.sleep(0.01)
        yield


def _taken(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def regular(path: Path) -> Path:
    """The path, if nothing but a file lies there (a link to one too): reading a pipe or a device may never end.

    Raises:
      OSError: nothing is there, or something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
