"""What every index of item vectors does; the docstrings here are the specification."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3csr_tf.util.quoting import quoted


class ItemIndex(abc.ABC):
    """Item vectors under string ids, searched by dot product.

    Rules that hold for every kind:

    * Ids are distinct, non-empty strings; vectors are finite float32, all of one width.
    * The ids that a caller hands in are copied, never kept or changed.
    * A score is the dot product of the query and the stored vector in float32, whatever approximation found it.
    * A search sees every upsert and delete that returned before it.
    * Bad arguments raise `ValueError` (an id that cannot be deleted: `KeyError`) and leave the index as it was.
    """

    kind: str
    """Name of the kind, as in the configuration and in the saved settings."""

    @property
    @abc.abstractmethod
    def ids(self) -> np.ndarray:
        """Ids of the items held, object array of str [items], in the order of the rows; not to be written to."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """Width of the vectors."""

    @property
    @abc.abstractmethod
    def report(self) -> dict[str, Any]:
        """Settings as JSON: kind, items, width, recall measured against exact search at the build, recall_at (how many
        nearest it looks at), changed, and more by kind.
        """

    @property
    @abc.abstractmethod
    def changed(self) -> int:
        """Items upserted and deleted since the build; one that changed twice counts twice."""

    def __len__(self) -> int:
        """Number of items held."""
        return len(self.ids)

    @abc.abstractmethod
    def search(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The k items of the largest dot product with each query.

        Args:
          queries: float32 [queries, width]; no queries is legal.
          k: items wanted; may exceed the number of items held.
          thorough: score every item, for lists that must not lack one; with hundreds of thousands of items a tenth of
            a second for one query, some milliseconds each in a batch.

        Returns:
          ids, object array of str [queries, k], and scores, float32 [queries, k], best first. Places beyond the items
          held are "" and -inf; there are no others of that kind, so a short list means a small catalogue.

        Raises:
          ValueError: k is below 1, or the queries have another width or values that are not finite.
        """

    @abc.abstractmethod
    def search_rows(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """`search`, without the ids: for large batches, which need few of them.

        Returns:
          rows, int64 [queries, k], positions in `ids` until the next upsert or delete, and scores, float32
          [queries, k], best first; -1 and -inf beyond the items held.

        Raises:
          ValueError: as in `search`.
        """

    @abc.abstractmethod
    def rows(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Positions of ids in `ids` until the next upsert or delete, -1 for those that are not held, int64 [ids]."""

    @abc.abstractmethod
    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """The stored vectors at rows, each from 0 to `len(self) - 1`, float32 [rows, width]."""

    @abc.abstractmethod
    def vectors(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """The stored vectors of items, float32 [ids, width].

        Raises:
          KeyError: an id is not in the index.
        """

    @abc.abstractmethod
    def upsert(self, ids: Sequence[str] | np.ndarray, vectors: np.ndarray) -> None:
        """Adds items, or replaces the vectors of items that are held already.

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
    def measure(self, queries: np.ndarray) -> float:
        """Recall against exact search over the vectors held now, at `recall_at`; in blocks, so that memory is bounded.

        Args:
          queries: float32 [queries, width], at least one; 1,000 of them say it to half a hundredth.

        Raises:
          ValueError: as in `search`, or there is no query.
        """

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the index to a new folder, which can be moved and copied; nothing in it is a pickle.

        Raises:
          ValueError: the folder exists already.
        """

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path) -> ItemIndex:
        """Reads what `save` wrote.

        Raises:
          ReleaseError: the folder lacks a file, or its files do not belong together.
        """


def checked_ids(ids: Sequence[str] | np.ndarray) -> list[str]:
    """A fresh list of `ids`.

    Raises:
      ValueError: there is none, or an id is repeated, empty, or no string.
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
    """`vectors` as contiguous float32 [count, width].

    Raises:
      ValueError: they have another shape, or values that are not finite.
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
