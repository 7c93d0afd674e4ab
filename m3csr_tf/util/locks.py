"""Locks between processes (`filelock`, which uses `flock`): a lock is released with its process, however that ends.

The file of a lock is never emptied before the lock is held, and is not followed if it is a link, because other users
may be able to write its folder.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from m3csr_tf.util.files import Obstacle

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds to wait for a lock before the wait is logged; most locks are held for less."""
_POLL = 0.005
"""Seconds between tries. A refresh of many items releases its lock for some milliseconds after every 20,000 items, and
a process that waits to publish must find it free then.
"""
_TRIES = 100
"""Number of tries to create a lock's file whose folder is removed each time; some folders, such as /proc, never take a
file.
"""
_SIGNED = re.compile(r"(\d{1,10}) ([A-Za-z0-9._-]{1,64})")


@contextmanager
def locked(path: Path, of: Path | None = None, stays: bool = True) -> Iterator[None]:
    """Holds a lock between processes, waiting for it if necessary.

    A wait of more than a second is logged, with the holder.

    Args:
      path: the lock's file. It must not be on a network file system without `flock`.
      of: what the lock protects, for the message to those who wait; the lock's file by default.
      stays: whether the file is kept afterwards.

    Raises:
      OSError: the file cannot be opened, or is a link, a folder, a pipe, or a device.
    """
    lock = _lock(path)
    _take(lock, path, path if of is None else of)
    try:
        yield
    finally:
        if not stays:
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Holds a lock if no other process holds it, and yields whether it is held.

    Raises:
      OSError: for the same reasons as in `locked`.
    """
    _refuse_others(path)
    lock = _lock(path)
    try:
        taken = lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    with taken:
        yield True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder that this process writes; other processes that want to write it wait, and readers take no lock.

    A process that holds a folder may hold it again inside the block. The lock lies beside the folder and is removed
    afterwards. Parent folders that were created for it are removed as well, if they are still empty.

    Raises:
      OSError: for the same reasons as in `locked`, or because the current folder is gone.
    """
    path = folder.with_name(f".{folder.name}.lock")
    try:
        place = path.absolute()
    except FileNotFoundError:
        message = "the folder that this was started in is gone; change to another one"
        raise Obstacle(errno.ENOENT, message, str(folder)) from None
    if place in _locked_folders:
        yield
        return
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        with locked(path, folder, stays=False):
            _locked_folders.add(place)
            try:
                yield
            finally:
                _locked_folders.discard(place)
    finally:
        for parent in new:
            with suppress(OSError):
                parent.rmdir()


_locked_folders: set[Path] = set()
"""The folders that this process holds, by the absolute paths of their locks."""


def _lock(path: Path) -> FileLock:
    # There is no fallback to a lock that outlives a killed process: without `flock`, locking is an error.
    return FileLock(path, fallback_to_soft=False, poll_interval=_POLL, on_acquired=partial(_check_and_sign, path))


def _take(lock: FileLock, path: Path, of: Path) -> None:
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_others(path)
        with suppress(FileNotFoundError):  # The last holder may have just removed its folder.
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                if not _can_lie_at(path):
                    break
                logger.warning("%s: %s holds it; waiting", of, _holder(path))
                lock.acquire()
            return
        time.sleep(0.01)
    raise Obstacle(errno.ENOENT, "no file can be made in this folder; choose another", f"{path}")


def _can_lie_at(path: Path) -> bool:
    """Returns whether the lock's file exists or can be created; `filelock` tries forever where it cannot."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666))
    except FileNotFoundError:
        return False
    return True


def _refuse_others(path: Path) -> None:
    """Refuses a path that is not a lock's file before it is opened; `_check_and_sign` checks what was opened."""
    with suppress(FileNotFoundError):
        _check(path.lstat(), path)


def _check(state: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(state.st_mode):
        raise Obstacle(errno.ELOOP, "it is a link, and a lock is none; remove it", str(path))
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        raise Obstacle(errno.EINVAL, "it is no file of its own, as a lock is; remove it", str(path))


def _check_and_sign(path: Path, descriptor: int) -> None:
    """Checks the file that was opened and locked, and writes into it who holds it, for those who wait."""
    _check(os.fstat(descriptor), path)
    with suppress(OSError):  # The holder's name is optional; the disk may be full.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {platform.node()}\n".encode(), 0)


def _holder(path: Path) -> str:
    """Returns who holds the lock by what its file says, if that has the form that a holder writes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "another process"
    try:
        signed = _SIGNED.match(os.pread(descriptor, 100, 0).decode("ascii", "replace"))
    except OSError:
        signed = None
    finally:
        os.close(descriptor)
    return f"process {signed[1]} on {signed[2]}" if signed else "another process"


def shareable_file(path: Path) -> IO[bytes]:
    """Opens the file of a lock that several processes may share, without locking it; it is created if it is missing.

    It is for `fcntl.flock` with LOCK_SH, because `filelock` has no shared lock on a file. Its lock for readers and
    writers is an SQLite database beside the file, which would keep the folder of a batch job from being copied and
    removed.

    Raises:
      OSError: for the same reasons as in `locked`.
    """
    _refuse_others(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    stream = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
    try:
        _check(os.fstat(stream.fileno()), path)
    except OSError:
        stream.close()
        raise
    return stream
