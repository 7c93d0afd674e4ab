"""Reads files that this package has written, with one clear message whatever is wrong with a file.

A file may have been cut by a full disk, edited, replaced by a folder, or belong to another user. What a library (numpy,
Arrow, zip, TensorFlow, ScaNN) raises for it differs from case to case, and does not say what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from m3csr_tf.errors import M3CSRError
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular
from m3csr_tf.util.quoting import LONGEST, printable

_REASON = 2 * LONGEST
_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_THE_FILE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, None)


@contextmanager
def reading(path: Path, remedy: str, error: type[M3CSRError]) -> Iterator[None]:
    """Turns whatever the block raises into one error that names the file, what is wrong, and what to do.

    Args:
      path: the file or folder that the block reads.
      remedy: what makes the file again, e.g. "run pipelines/release.py". It is named only where the file itself is at
        fault, and not where the disk is full or rights are missing.
      error: the class of the error that is raised.

    Raises:
      M3CSRError: of class `error`; an M3CSRError that the block itself raises is passed on.
    """
    try:
        yield
    except M3CSRError:
        raise
    except Exception as problem:  # Libraries raise almost anything for a broken file.
        named = problem.filename if isinstance(problem, OSError) else None
        place = named if isinstance(named, str) else path
        raise error(f"{place}: {what_is_wrong(problem)}; {advice(problem, remedy)}") from problem


def what_is_wrong(problem: Exception) -> str:
    """Describes what is wrong with a file, in a few words on one line."""
    if isinstance(problem, FileNotFoundError) and problem.filename is not None:
        return "it is missing"
    if isinstance(problem, IsADirectoryError):
        return "it is a folder, expected a file"
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else f"{problem}"
    text = printable(" ".join(text.split()))
    message = f"{text[:_REASON]}..." if len(text) > _REASON else text or type(problem).__name__
    whole = isinstance(problem, OSError) and problem.errno not in _NOT_THE_FILE
    if isinstance(problem, FileNotFoundError):
        return f"a file is missing ({message})"
    return f"it cannot be read ({message})" if whole else f"it is broken ({message})"


def advice(problem: Exception, remedy: str) -> str:
    """Says what to do: the remedy if the file is at fault, otherwise what to do about the disk or the rights."""
    number = problem.errno if isinstance(problem, OSError) else None
    if number in _RIGHTS:
        return "give this user the right to read it"
    if number in _FULL:
        return "make room on the disk"
    return remedy if number in _NOT_THE_FILE else "check the disk"


def stored_json(path: Path, remedy: str, error: type[M3CSRError]) -> dict[str, Any]:
    """Returns the object of a JSON file that this package has written.

    Raises:
      M3CSRError: of class `error`, for the same reasons as in `reading`, or because the file holds no object.
    """
    with reading(path, remedy, error):
        tree = parse_json(regular(path).read_bytes())
        if not isinstance(tree, dict):
            raise ValueError(f"expected an object, got {type(tree).__name__}")
        return tree


def stored_array(path: Path, shape: tuple[int | None, ...], kind: str, mapped: bool = False) -> np.ndarray:
    """Returns the array of an .npy file that this package has written; pickles are refused.

    Args:
      path: the file.
      shape: the expected shape; None stands for any length.
      kind: the expected letter of the dtype, "f" or "i".
      mapped: whether to map the array from the file, read-only.

    Raises:
      OSError, ValueError: the file cannot be read, or holds another array.
    """
    array = np.load(regular(path), mmap_mode="r" if mapped else None, allow_pickle=False)
    fits = isinstance(array, np.ndarray) and array.dtype.kind == kind and array.ndim == len(shape)
    if not fits or any(want not in (None, there) for want, there in zip(shape, array.shape, strict=True)):
        raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')} {getattr(array, 'shape', '')}")
    return array


def checked(shape: type[BaseModel], tree: Any) -> None:
    """Refuses a JSON tree that does not fit a pydantic model.

    Raises:
      ValueError: it names the first invalid field.
    """
    try:
        shape.model_validate(tree, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
