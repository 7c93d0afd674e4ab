"""Writes float32 matrices, which may be larger than memory, to .npy files block by block."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np


class MatrixFile:
    """A context manager that writes a float32 matrix as `numpy.save` would, rows after rows.

    It does not use a memory map, which would end the process without a message when the disk is full.

    Args:
      path: the file, which is replaced.
      rows, width: the shape of the matrix.
    """

    def __init__(self, path: Path, rows: int, width: int) -> None:
        self._path = path
        self._shape = (rows, width)
        self._written = 0

    def write(self, block: np.ndarray) -> None:
        """Appends rows, which are numbers [n, width].

        Raises:
          ValueError: the block has another width.
        """
        if block.ndim != 2 or block.shape[1] != self._shape[1]:
            raise ValueError(f"{self._path}: got a block {list(block.shape)}, expected [n, {self._shape[1]}]")
        self._stream.write(np.ascontiguousarray(block, "<f4").data)
        self._written += len(block)

    def flush(self) -> None:
        """Hands what has been written to the operating system, so that others can read it from the file."""
        self._stream.flush()

    def __enter__(self) -> MatrixFile:
        self._stream = self._path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()
        if kind is None and self._written != self._shape[0]:
            raise ValueError(f"{self._path}: {self._written:,} rows were written, expected {self._shape[0]:,}")
