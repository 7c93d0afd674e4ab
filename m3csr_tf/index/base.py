"""The interface of every index of item vectors. The docstrings of `ItemIndex` are its specification."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3csr_tf.util.quoting import quoted


class ItemIndex(abc.ABC):
    """Item vectors under string ids, searched by dot product.

    These rules hold for every kind of index:

    * Ids are distinct, non-empty strings; vectors are finite float32 and all of one width.
    * The ids that a caller passes are copied; the index neither keeps nor changes the caller's sequence.
    * A score is the dot product of the query and the stored vector in float32, whatever approximation found the item.
    * A search sees every upsert and delete that returned before it began.
    * Bad arguments raise `ValueError` (`KeyError` for an id that is not there) and leave the index as it was.
    """

    kind: str
    """Name of the kind of index, as in the configuration and in the saved settings."""

    @property
    @abc.abstractmethod
    def ids(self) -> np.ndarray:
        """Ids of the items of the index, object array of str [items], in row order; callers must not write to it."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """Width of the vectors."""

    @property
    @abc.abstractmethod
    def report(self) -> dict[str, Any]:
        """Settings and measurements of the index, as JSON.

        They are kind, items, width, recall (against exact search, measured when the index was built), recall_at (the k
        of that recall), changed, and more that depends on the kind.
        """

    @property
    @abc.abstractmethod
    def changed(self) -> int:
        """Number of upserts and deletes of items since the index was built; an item that changed twice counts twice."""

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self.ids)

    @abc.abstractmethod
    def search(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k items with the largest dot product with each query.

        Args:
          queries: float32 [queries, width]; there may be no queries.
          k: number of items to return; it may exceed the number of items of the index.
          thorough: score every item, for lists from which no item may be missing. With hundreds of thousands of items
            this takes a tenth of a second for a single query, and some milliseconds for each query of a batch.

        Returns:
          ids, object array of str [queries, k], and scores, float32 [queries, k], best first. Positions beyond the
          number of items of the index hold "" and -inf, and no other positions do: a list is short only if the
          catalogue is small.

        Raises:
          ValueError: k is below 1, or the queries have another width or values that are not finite.
        """

    @abc.abstractmethod
    def search_rows(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Searches as `search` does but returns rows instead of ids, for large batches that need few of the ids.

        Returns:
          rows, int64 [queries, k], which are positions in `ids` until the next upsert or delete, and scores, float32
          [queries, k], best first; positions beyond the number of items hold -1 and -inf.

        Raises:
          ValueError: for the same reasons as in `search`.
        """

    @abc.abstractmethod
    def rows(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Returns the positions in `ids` of some items until the next upsert or delete, -1 if unknown, int64 [ids]."""

    @abc.abstractmethod
    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """Returns the stored vectors at some rows, each from 0 to `len(self) - 1`, float32 [rows, width]."""

    @abc.abstractmethod
    def vectors(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Returns the stored vectors of some items, float32 [ids, width].

        Raises:
          KeyError: an id is not in the index.
        """

    @abc.abstractmethod
    def upsert(self, ids: Sequence[str] | np.ndarray, vectors: np.ndarray) -> None:
        """Adds items, or replaces the vectors of items that are already in the index.

        Args:
          ids: distinct ids.
          vectors: float32 [ids, width].

        Raises:
          ValueError: an id is repeated or empty, or the vectors have another shape or values that are not finite.
        """

    @abc.abstractmethod
    def delete(self, ids: Sequence[str] | np.ndarray) -> None:
        """Removes items.

        Raises:
          KeyError: an id is not in the index.
          ValueError: an id is repeated, or no item would be left.
        """

    @abc.abstractmethod
    def prepare_changes(self) -> None:
        """Does now what would otherwise make the first upsert or delete slow; the items stay as they are."""

    @abc.abstractmethod
    def measure(self, queries: np.ndarray) -> float:
        """Measures recall at `recall_at` against exact search over the current vectors, in blocks to bound memory.

        Args:
          queries: float32 [queries, width], at least one; with 1,000 of them the recall is exact to about 0.005.

        Raises:
          ValueError: for the same reasons as in `search`, or there is no query.
        """

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the index to a new folder, which can be moved and copied and holds no pickle.

        Raises:
          ValueError: the folder exists already.
        """

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path) -> ItemIndex:
        """Reads an index that `save` has written.

        Raises:
          ReleaseError: the folder lacks a file, or its files do not belong together.
        """


def checked_ids(ids: Sequence[str] | np.ndarray) -> list[str]:
    """Returns the ids as a new list.

    Raises:
      ValueError: there is no id, or an id is repeated, empty, or not a string.
    """
    copy = list(ids)
    if not copy:
        raise ValueError("an index needs at least one item, got none")
    for item in copy:
        if not isinstance(item, str) or not item:
            raise ValueError(f"item ids must be non-empty strings, got {quoted(item)}")
    if len(set(copy)) < len(copy):
        seen: set[str] = set()
        repeated = next(item for item in copy if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise ValueError(f"item id {quoted(repeated)} occurs twice; an index takes each id once")
    return copy


def checked_vectors(vectors: np.ndarray, what: str, width: int | None = None, count: int | None = None) -> np.ndarray:
    """Returns the vectors as contiguous float32 [count, width].

    Raises:
      ValueError: the vectors have another shape, or values that are not finite.
    """
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] == 0 or (width is not None and array.shape[1] != width):
        raise ValueError(f"{what}: expected vectors [n, {width or 'width'}], got shape {list(array.shape)}")
    if count is not None and len(array) != count:
        raise ValueError(f"{what}: expected one vector an id, got {len(array)} vectors for {count} ids")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what}: vector {int(np.argmin(finite))} has NaN or infinite values; index finite vectors only"
        )
    return array
