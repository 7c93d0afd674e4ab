"""Content vectors on their way into the prepared folder, block by block: a catalogue may be larger than memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from m3csr_tf.data.catalogue import VectorCheck
from m3csr_tf.errors import InputError
from m3csr_tf.features.blocks import blocks, give_back
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.util.matrix_file import MatrixFile

ITEMS_AT_ONCE = 65_536


def content_file(modality: str) -> str:
    """Name of a modality's file in the prepared folder."""
    return f"content_{modality}.npy"


class ContentFile:
    """Writes a modality's vectors by item row, the reserved rows NaN, as `np.save` would; a context manager.

    Args:
      folder: where to.
      modality: its name.
      items: how many vectors will come.
      source: how messages call the input.
    """

    def __init__(self, folder: Path, modality: str, items: int, source: str) -> None:
        self._path = folder / content_file(modality)
        self._items = items
        self._modality = modality
        self._source = source
        self._check = VectorCheck(modality, source)
        self._absent = 0
        self._file: MatrixFile | None = None
        self._open = ExitStack()

    def append(self, vectors: np.ndarray) -> None:
        """Writes the next vectors, [n, width]; of width 0 as long as none of the items has the modality."""
        width = vectors.shape[1]
        if not width:
            self._absent += len(vectors)
            return
        if self._file is None:
            self._file = self._open.enter_context(MatrixFile(self._path, FIRST_ROW + self._items, width))
            self._file.write(np.full((FIRST_ROW, width), np.nan, np.float32))
            for block in blocks(self._absent, ITEMS_AT_ONCE):
                self._file.write(np.full((block.stop - block.start, width), np.nan, np.float32))
            self._check.rows += self._absent
        self._file.write(self._check.checked(vectors))

    def finish(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of all items, float32 [items, width], memory-mapped and read-only.

        Args:
          ids: of the items, object [items].

        Raises:
          InputError: as `check_vectors`.
        """
        if self._file is None:
            raise InputError(
                f"{self._source}: {self._modality} vectors have no entries; expected a width of at least 1"
            )
        self._check.refuse(ids)
        self._file.flush()
        return np.load(self._path, mmap_mode="r", allow_pickle=False)[FIRST_ROW:]

    def __enter__(self) -> ContentFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)


def store(folder: Path, modality: str, vectors: np.ndarray, ids: np.ndarray, source: str) -> np.ndarray:
    """Writes vectors [items, width], which may be mapped from a file, as `ContentFile`; returns what it returns."""
    with ContentFile(folder, modality, len(vectors), source) as file:
        for block in blocks(len(vectors), ITEMS_AT_ONCE):
            file.append(vectors[block])
            give_back(vectors[block])
        return file.finish(ids)
