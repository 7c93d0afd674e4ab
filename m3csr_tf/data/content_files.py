"""Writes content vectors into the prepared folder block by block, because a catalogue may be larger than memory."""

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
from m3csr_tf.util.progress import ProgressCallback

ITEMS_AT_ONCE = 65_536


def content_file(modality: str) -> str:
    """Returns the name of a modality's file in the prepared folder."""
    return f"content_{modality}.npy"


class ContentFile:
    """A context manager that writes a modality's vectors to a .npy file, indexed by item row.

    The reserved rows (padding and unknown) come first and are NaN. The file is the same as `np.save` would write.

    Args:
      folder: the folder of the file.
      modality: the name of the modality.
      items: the number of vectors that will be appended.
      source: the name of the input in error messages.
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
        """Writes the next vectors [n, width]. The width may be 0 until the first item that has the modality comes."""
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
        """Checks what was written and returns it, float32 [items, width], memory-mapped and read-only.

        Args:
          ids: ids of the items, object [items].

        Raises:
          InputError: no item has the modality, or a vector is bad in the sense of `check_vectors`.
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


def store(
    folder: Path,
    modality: str,
    vectors: np.ndarray,
    ids: np.ndarray,
    source: str,
    on_progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Writes vectors [items, width], memory-mapped or not, by `ContentFile`, and returns what its `finish` returns.

    Args:
      folder, modality, source: as in `ContentFile`.
      vectors: float [items, width].
      ids: as in `ContentFile.finish`.
      on_progress: progress callback, which gets the number of items that are written and of all items.
    """
    with ContentFile(folder, modality, len(vectors), source) as file:
        for block in blocks(len(vectors), ITEMS_AT_ONCE):
            file.append(vectors[block])
            give_back(vectors[block])
            if on_progress is not None:
                on_progress(block.stop, len(vectors))
        return file.finish(ids)
