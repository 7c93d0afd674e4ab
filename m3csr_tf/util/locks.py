"""Locks among processes (`filelock`, which takes `flock`): a lock goes with the process that holds it, however it ends.

The file of a lock is never emptied before the lock is held, and never followed where it is a link: others may write
its folder.
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
"""Seconds that one waits for a lock without a word: most are held for less."""
_POLL = 0.005
"""Seconds between tries. A refresh of many items gives its lock up for some milliseconds after every 20,000 of them,
and one who waits to publish must find it free then."""
_TRIES = 100
"""How often a lock's file is made again whose folder is gone each time; some folders, as /proc, take no file ever."""
_SIGNED = re.compile(r"(\d{1,10}) ([A-Za-z0-9._-]{1,64})")


@contextmanager
def locked(path: Path, of: Path | None = None, stays: bool = True) -> Iterator[None]:
    """Holds a lock among processes, waiting for it if need be; a wait of more than a second is logged, with the holder.

    Args:
      path: the lock's file. Not on a network file system without `flock`.
      of: what it locks, for the message of who waits; its file by default.
      stays: whether the file stays afterwards.

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
    """Holds a lock if no other process does; the block is told whether it is held.

    Raises:
      OSError: as `locked`.
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
    """Holds a folder that this process writes; others that would write it wait. Readers take no lock.

    One who holds a folder may hold it again within. The lock lies beside the folder and is removed afterwards, and so
    are the folder's parents, where they were made for it and are still empty.

    Raises:
      OSError: as `locked`, or the current folder is gone.
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
"""Locks of the folders that this process holds."""


def _lock(path: Path) -> FileLock:
    # No fallback to a lock that outlives a killed process: where there is no `flock`, that is an error.
    return FileLock(path, fallback_to_soft=False, poll_interval=_POLL, on_acquired=partial(_check_and_sign, path))


def _take(lock: FileLock, path: Path, of: Path) -> None:
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_others(path)
        with suppress(FileNotFoundError):  # Whoever held it before may have just removed its folder.
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
    """Whether the lock's file is there or can be made; `filelock` goes on trying where it cannot."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666))
    except FileNotFoundError:
        return False
    return True


def _refuse_others(path: Path) -> None:
    """Refuses what is no file of a lock before it is opened; `_check_and_sign` looks again at what was opened."""
    with suppress(FileNotFoundError):
        _check(path.lstat(), path)


def _check(state: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(state.st_mode):
        raise Obstacle(errno.ELOOP, "it is a link, and a lock is none; remove it", str(path))
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        raise Obstacle(errno.EINVAL, "it is no file of its own, as a lock is; remove it", str(path))


def _check_and_sign(path: Path, descriptor: int) -> None:
    """Looks at what was opened and locked, and writes into it who holds it, for those who wait."""
    _check(os.fstat(descriptor), path)
    with suppress(OSError):  # The name is a courtesy; the disk may be full.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {platform.node()}\n".encode(), 0)


def _holder(path: Path) -> str:
    """Who holds the lock, by what is written in its file, if that is what a holder writes."""
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
    """The file of a lock that several processes may share, open but not locked, made where there is none.

    For `fcntl.flock` with LOCK_SH: `filelock` has no shared lock on a file; its lock for readers and writers is a
    database of SQLite beside it, which would keep the folder of a batch job from being copied and removed.

    Raises:
      OSError: as `locked`.
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
