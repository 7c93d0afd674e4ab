"""Writing beside and renaming: a reader sees the old file or the new one, whole, also after a power cut."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds that one waits for a lock without a word: most are held for less."""
_TRIES = 100
"""How often a lock's file is made again whose folder is gone each time; some folders, as /proc, take no file ever."""


class Obstacle(OSError):
    """Something lies, or nothing can, where a file of this package's own belongs; its text says what to do about it."""


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
def locked(path: Path, of: Path | None = None, stays: bool = True) -> Iterator[None]:
    """Holds a lock among processes, waiting for it if need be; it goes with the process that holds it, however it ends.

    The file is neither followed, where it is a link, nor emptied before the lock is held: others may write its folder.

    Args:
      path: the lock's file. Not on a network file system without `flock`.
      of: what it locks, for the message of who waits; its file by default.
      stays: whether the file stays afterwards.

    Raises:
      OSError: as `lock_file`.
    """
    with _taken(path, path if of is None else of):
        try:
            yield
        finally:
            if not stays:
                path.unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a folder that this process writes; others that would write it wait. Readers take no lock.

    One who holds a folder may hold it again within. The lock lies beside the folder and is removed afterwards, and so
    are the folder's parents, where they were made for it and are still empty.

    Raises:
      OSError: as `locked`, or the current folder is gone.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        place = lock.absolute()
    except FileNotFoundError:
        said = "the folder that this was started in is gone; change to another one"
        raise Obstacle(errno.ENOENT, said, str(folder)) from None
    if place in _held:
        yield
        return
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        with locked(lock, folder, stays=False):
            _held.add(place)
            try:
                yield
            finally:
                _held.discard(place)
    finally:
        for parent in new:
            with suppress(OSError):
                parent.rmdir()


_held: set[Path] = set()
"""Locks of the folders that this process holds."""
_SIGNED = re.compile(r"(\d{1,10}) ([A-Za-z0-9._-]{1,64})")


def _taken(path: Path, of: Path) -> IO[bytes]:
    """The lock's file, open, locked, and signed by this process."""
    tries = 0
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = lock_file(path)
        except FileNotFoundError:
            # Whoever held it before may have just removed its folder.
            tries += 1
            if tries < _TRIES:
                time.sleep(0.01)
                continue
            raise Obstacle(errno.ENOENT, "no file can be made in this folder; choose another", f"{path}") from None
        try:
            _wait_for(stream, of)
            if _lies_at(stream, path):
                _sign(stream)
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # Whoever held it has removed it: the lock of now is another file.


def lock_file(path: Path) -> IO[bytes]:
    """The file of a lock, open but not locked, made where there is none; what lies there is not emptied.

    Raises:
      OSError: the file cannot be opened, or is a link, a folder, a pipe, or a device.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        stream = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Obstacle(errno.ELOOP, "it is a link, and a lock is none; remove it", str(path)) from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise _no_lock(path) from None
        raise
    state = os.fstat(stream.fileno())
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        stream.close()
        raise _no_lock(path)
    return stream


def _no_lock(path: Path) -> Obstacle:
    return Obstacle(errno.EINVAL, "it is no file of its own, as a lock is; remove it", str(path))


def _wait_for(stream: IO[bytes], of: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() > until:
            signed = _SIGNED.match(os.pread(stream.fileno(), 100, 0).decode("ascii", "replace"))
            holder = f"process {signed[1]} on {signed[2]}" if signed else "another process"
            logger.warning("%s: %s holds it; waiting", of, holder)
            fcntl.flock(stream, fcntl.LOCK_EX)
            return
        time.sleep(0.01)


def _lies_at(stream: IO[bytes], path: Path) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(stream.fileno()), there)


def _sign(stream: IO[bytes]) -> None:
    with suppress(OSError):  # The name is a courtesy; the disk may be full.
        os.ftruncate(stream.fileno(), 0)
        os.pwrite(stream.fileno(), f"{os.getpid()} {platform.node()}\n".encode(), 0)


def regular(path: Path) -> Path:
    """The path, if nothing but a file lies there (a link to one too): reading a pipe or a device may never end.

    Raises:
      OSError: nothing is there, or something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises:
      OSError: as `regular`, or it cannot be read.
    """
    with regular(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
