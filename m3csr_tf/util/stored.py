"""Reading the files that this package has written: whatever is wrong with one of them gives one message.

A file may have been cut by a full disk, edited, replaced by a folder, or be another user's. What a library raises for
it (numpy, Arrow, zip, TensorFlow, ScaNN) differs from case to case and says nothing of what to do.
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
      path: of the file or folder that the block reads.
      remedy: what makes it again, e.g. "run pipelines/release.py". Only where the file itself is at fault: a disk that
        is full and rights that are missing are named instead.
      error: the class that is raised.

    Raises:
      M3CSRError: of class `error`; one that the block raises itself passes.
    """
    try:
        yield
    except M3CSRError:
        raise
    except Exception as problem:  # Of a broken file, libraries raise about anything.
        named = problem.filename if isinstance(problem, OSError) else None
        place = named if isinstance(named, str) else path
        raise error(f"{place}: {what_is_wrong(problem)}; {advice(problem, remedy)}") from problem


def what_is_wrong(problem: Exception) -> str:
    """What the error says of a file, in a few words on one line."""
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
    """What to do: the remedy only if the file is at fault, and not the disk or the rights."""
    number = problem.errno if isinstance(problem, OSError) else None
    if number in _RIGHTS:
        return "give this user the right to read it"
    if number in _FULL:
        return "make room on the disk"
    return remedy if number in _NOT_THE_FILE else "check the disk"


def stored_json(path: Path, remedy: str, error: type[M3CSRError]) -> dict[str, Any]:
    """The object of a JSON file that this package has written.

    Raises:
      M3CSRError: of class `error`, as `reading`; also where it is no object.
    """
    with reading(path, remedy, error):
        tree = parse_json(regular(path).read_bytes())
        if not isinstance(tree, dict):
            raise ValueError(f"expected an object, got {type(tree).__name__}")
        return tree


def stored_array(path: Path, shape: tuple[int | None, ...], kind: str, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file that this package has written; never a pickle.

    Args:
      path: the file.
      shape: expected; None stands for any length.
      kind: expected letter of the dtype, "f" or "i".
      mapped: map it from the file, read-only.

    Raises:
      OSError, ValueError: it cannot be read, or is another array.
    """
    array = np.load(regular(path), mmap_mode="r" if mapped else None, allow_pickle=False)
    fits = isinstance(array, np.ndarray) and array.dtype.kind == kind and array.ndim == len(shape)
    if not fits or any(want not in (None, there) for want, there in zip(shape, array.shape, strict=True)):
        raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')} {getattr(array, 'shape', '')}")
    return array


def checked(shape: type[BaseModel], tree: Any) -> None:
    """Refuses a tree of JSON that has not the shape of a model.

    Raises:
      ValueError: naming the first field at fault.
    """
    try:
        shape.model_validate(tree, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
