"""An inbox: a folder in which files of items arrive, which are taken in one after the other, in order of their names.

A file is moved out of the inbox only after the journal holds its items. If the process dies in between, the next one
takes the file in again, which changes nothing, because an item that is given replaces what was known of it.

Other users may write to the folder. Therefore no link in it is followed, and no file in it can end the process.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from m3csr_tf.data.parts.kinds import is_table
from m3csr_tf.data.updates import read_updates
from m3csr_tf.errors import InputError, M3CSRError
from m3csr_tf.releases.refresh import Refreshed, check, refresh
from m3csr_tf.releases.release import Release
from m3csr_tf.util import signals
from m3csr_tf.util.quoting import one_line

logger = logging.getLogger(__name__)

DONE = "done"
REJECTED = "rejected"
_ERROR = ".error"
_LONGEST_NAME = 255
"""Largest length of a file's name in bytes."""
_AT_ONCE = 20_000
"""Number of items in one segment of the journal; it bounds how long other writers wait for the lock."""


def take_in(
    release: Release, path: Path, show: Callable[[int, int], object] = lambda done, total: None
) -> list[Refreshed]:
    """Takes in the items of one file (`data.updates`), some thousands at a time.

    Args:
      release: the current version.
      path: the path of the file.
      show: progress callback, which gets the number of items that are done and the number of all items.

    Raises:
      InputError: the file is malformed or one of its items is invalid; in that case nothing has been taken in.
      ReleaseError: for the same reasons as in `refresh`.
    """
    source = one_line(str(path))
    updates = read_updates(path, columns_of(release), release.modalities)
    size = len(updates.frame)
    if not size and not updates.removed:
        raise InputError(f"{source}: no items; expected a row for each item that came, changed or went")
    check(release, updates.frame, updates.content, updates.removed, source)
    done = []
    for start in range(0, max(1, size), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        frame = updates.frame.iloc[some].reset_index(drop=True)
        content = {name: vectors[some] for name, vectors in updates.content.items()}
        gone = updates.removed if start == 0 else []
        done.append(refresh(release, frame, content, gone, source))
        show(min(size, start + _AT_ONCE), size)
    return done


def pending_files(inbox: Path) -> list[Path]:
    """Returns the files that have arrived, by name; files whose names begin with _ or . are still being written.

    Raises:
      InputError: there is no such folder.
    """
    return [path for path, is_file in _arrived(inbox) if is_file]


def ignored_entries(inbox: Path) -> list[Path]:
    """Returns entries with the name of such a file that are not regular files: links, pipes and folders."""
    return [path for path, is_file in _arrived(inbox) if not is_file]


def _arrived(inbox: Path) -> list[tuple[Path, bool]]:
    if not inbox.is_dir():
        raise InputError(f"{inbox}: no such folder; create it, and move files of items into it")
    with os.scandir(inbox) as there:
        found = [(Path(one.path), one.is_file(follow_symlinks=False)) for one in there if one.name[0] not in "_."]
    return sorted((path, is_file) for path, is_file in found if is_table(path))


def take_in_and_put_away(release: Release, path: Path) -> list[Refreshed]:
    """Takes in a file of an inbox and moves it to done/, or to rejected/ with the reason beside it if it is invalid.

    A file that causes an unexpected error is rejected too, so that it does not block the files behind it. A file that
    cannot be moved does not block them either: this is logged, and the file stays.

    Returns:
      What was done, one entry for each step; empty for a file that was rejected.

    Raises:
      ReleaseError: for the same reasons as in `refresh`; the file stays.
      OSError: a file of the release cannot be read or written; the file stays.
    """
    release.catch_up()  # Outside of the `try`: if this fails, the release is at fault and not the file.
    try:
        done = take_in(release, path)
    except InputError as error:
        _reject(path, str(error))
        return []
    except (M3CSRError, OSError):
        raise
    except Exception as error:
        if signals.received():
            raise
        _reject(path, f"{type(error).__name__}: {error}", unexpected=True)
        return []
    _put_away(path, DONE)
    return done


def columns_of(release: Release) -> dict[str, str]:
    """Returns modality -> the column that holds its vectors, as in the catalogue of the training.

    If the vectors of a modality came in a .npy file, or from the synthetic world, the column has the modality's name.
    """
    places = release.manifest["config"]["data"]["modalities"]
    named = {name: places.get(name, name) for name in release.modalities}
    return {name: name if place.lower().endswith(".npy") else place for name, place in named.items()}


def _reject(path: Path, reason: str, unexpected: bool = False) -> None:
    message = one_line(reason)
    _put_away(path, REJECTED, message)
    logger.warning("%s: rejected (%s)", one_line(str(path)), message, exc_info=unexpected)


def _put_away(path: Path, wanted: str, reason: str | None = None) -> None:
    """Moves a file into a folder of the inbox and writes the reason beside it; if its name is taken, it gets a number.

    All steps go through descriptors of the folders, so that somebody who may write to the inbox cannot redirect them
    by swapping a folder for a link in the meantime.
    """
    try:
        there = _folder(path.parent, wanted)
        try:
            name = _free_name(path, there)
            os.rename(path, name, dst_dir_fd=there)
            if reason is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                error_file = os.open(name + _ERROR, flags, 0o666, dir_fd=there)
                with os.fdopen(error_file, "w", encoding="utf-8") as stream:
                    stream.write(f"{reason}\n")
        finally:
            os.close(there)
    except OSError as error:
        logger.warning("%s: cannot be put into %s (%s)", one_line(str(path)), wanted, error.strerror or error)


def _free_name(path: Path, there: int) -> str:
    """Returns the file's name or a similar one that is free, cut so that the name with the ending .error fits too."""
    number = 1
    while True:
        ending = f"{'' if number == 1 else f'.{number}'}{path.suffix}"
        stem = os.fsdecode(os.fsencode(path.stem)[: _LONGEST_NAME - len(os.fsencode(ending + _ERROR))])
        if not any(_lies_in(there, name) for name in (stem + ending, stem + ending + _ERROR)):
            return stem + ending
        number += 1


def _lies_in(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _folder(inbox: Path, wanted: str) -> int:
    """Opens a folder of the inbox, created if missing; if something else has its name, a numbered folder is used."""
    name, number = wanted, 1
    while True:
        with suppress(FileExistsError):
            (inbox / name).mkdir()
        try:
            return os.open(inbox / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        number += 1
        other = f"{wanted}.{number}"
        _say_no_folder(inbox / name, other)
        name = other


@cache
def _say_no_folder(path: Path, other: str) -> None:
    """Logs once in a process, and not for every file, that another folder is used."""
    logger.warning("%s: is no folder; files go to %s", one_line(str(path)), other)
