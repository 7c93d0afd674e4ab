"""Finds the files of a table that was written as a folder of part files."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.errors import InputError


def part_files(folder: Path) -> list[Path]:
    """Returns the part files of a table that was written by Spark or in its manner, sorted.

    Files whose names begin with _ or . are not data, and neither are the files in folders with such names.

    Raises:
      InputError: there are none.
    """
    require_file(folder)
    parts = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)]
    if not parts:
        raise InputError(f"{folder}: the folder holds no part files")
    return sorted(parts)


def _is_hidden(path: Path, folder: Path) -> bool:
    """Returns whether a file is hidden by its own name or a folder's; a folder `_key=value` holds data all the same."""
    *folders, name = path.relative_to(folder).parts
    return name[0] in "_." or any(one[0] in "_." and "=" not in one for one in folders)


def require_file(path: Path) -> None:
    """Refuses a path that is neither a file nor a folder, because reading a pipe or a device may never end.

    Raises:
      InputError: it is such a path; the message names it.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is no file, but a pipe or a device; expected a file, or a folder of part files")
