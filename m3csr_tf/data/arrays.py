"""Reads content vectors from .npy files. The header is checked before any data is read, and nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m3csr_tf.errors import InputError
from m3csr_tf.util.files import regular

_EXPECTED = "expected numbers [items, width], as numpy.save writes them"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def shape_of(path: Path) -> tuple[int, int]:
    """Returns the shape [items, width] that the header of a .npy file states, without reading the vectors.

    Raises:
      InputError: the file is missing, is not a .npy file, is pickled, is cut short, or holds anything but a
        two-dimensional array of numbers.
    """
    shape, _, _, _ = _header(path)
    return shape


def load_vectors(path: Path) -> np.ndarray:
    """Maps the vectors of a .npy file into memory, read-only: numbers [items, width] of the file's own dtype.

    Raises:
      InputError: the file cannot be used, for any of the reasons that `shape_of` gives.
    """
    shape, fortran, kind, start = _header(path)
    if not shape[0] * shape[1]:
        return np.empty(shape, kind)
    try:
        return np.memmap(path, kind, "r", start, shape, "F" if fortran else "C")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as .npy ({error}); {_EXPECTED}") from None


def _header(path: Path) -> tuple[tuple[int, int], bool, np.dtype, int]:
    """Returns the shape, whether the order is Fortran's (column-major), the dtype, and the data's offset in bytes."""
    try:
        with regular(path).open("rb") as stream:
            first = stream.read(6)
            if first.startswith(b"PK"):
                raise InputError(f"{path}: holds an archive; expected numbers [items, width] in a .npy file")
            if not first.startswith(b"\x93NUMPY"):
                raise ValueError("it does not begin as such a file does")
            stream.seek(0)
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"version {version[0]}.{version[1]} of the format is not read")
            shape, fortran, kind = _HEADERS[version](stream)
            start = stream.tell()
            size = stream.seek(0, 2)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read as .npy ({error.strerror or error}); {_EXPECTED}") from None
    except Exception as error:  # numpy evaluates the header as Python, so any exception of its parser can come up.
        reason = str(error).strip().split("\n")[0][:100] if isinstance(error, ValueError) else "its header is malformed"
        raise InputError(f"{path}: cannot be read as .npy ({reason}); {_EXPECTED}") from None
    if kind.hasobject:
        raise InputError(
            f"{path}: cannot be read as .npy (it is pickled or holds objects); expected numbers [items, width], never "
            "a pickle"
        )
    if len(shape) != 2 or kind.kind not in "fiu" or any(type(one) is not int or one < 0 for one in shape):
        raise InputError(f"{path}: holds {kind} {list(shape)}; expected numbers [items, width]")
    needed = start + shape[0] * shape[1] * kind.itemsize
    if size < needed:
        raise InputError(
            f"{path}: is cut short: its header says {kind} {list(shape)}, {needed:,} bytes, and it has {size:,}; copy "
            "it again"
        )
    return (shape[0], shape[1]), fortran, kind, start
