"""Builds a prepared folder beside its destination and moves it there complete, never over anything else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m3csr_tf import columns
from m3csr_tf.errors import ResourceError, RunError
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.refusals import reason


def refuse_foreign(folder: Path) -> None:
    """Refuses to replace a folder that does not hold prepared data.

    Raises:
      RunError: the path is a file, or a folder that is not empty and lacks a manifest.
    """
    if folder.exists() and not (folder / columns.MANIFEST).exists() and (folder.is_file() or any(folder.iterdir())):
        raise RunError(f"{folder}: holds something other than prepared data; move it away, or choose another folder")


@contextmanager
def put_in_place(folder: Path) -> Iterator[Path]:
    """Yields a new folder, which replaces `folder` when the block ends; if the block raises, `folder` stays as it was.

    A lock makes any other process that would replace the folder wait.

    Raises:
      ResourceError: the folder cannot be written.
    """
    temporary, old = (folder.with_name(f".{folder.name}.{state}") for state in ("building", "replaced"))
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        with folder_lock(folder):
            try:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                yield temporary
                _swap(temporary, folder, old)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                if folder.exists():
                    shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ResourceError(f"{folder}: cannot write the prepared data: {reason(error)}") from None
    finally:
        if not folder.exists():
            for parent in new:
                with suppress(OSError):
                    parent.rmdir()


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Moves `new` to the place of `folder`. If that fails, `folder` is restored."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
