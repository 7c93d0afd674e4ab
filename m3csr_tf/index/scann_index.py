"""What all kinds of index have in common: a ScaNN searcher, with the ids and vectors of its items stored beside it.

ScaNN would store its own ids as a pickle, which executes code when it is loaded. Therefore it is given no ids, and they
are kept in parquet. ScaNN's padding (NaN scores at row 0) is masked here. Paths inside a saved index are relative, so
that the folder can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scann.scann_ops.py import scann_ops_pybind as scann
from typing_extensions import override

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index.base import ItemIndex, checked_ids, checked_vectors
from m3csr_tf.index.recall import RecallSample, kth_scores
from m3csr_tf.index.vector_store import VectorStore
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.stored import reading, stored_array, stored_json

SETTINGS = "index.json"
IDS = "ids.parquet"
PICKLED_IDS = "scann_docids.pkl"
MEASURED = 16_384
"""Number of items that are scored exactly at a time; with 1,000 queries they take 64 MB of scores."""
_ADVICE = "put it back, roll back, or release again"
BLOCK = 256
"""Number of queries that one thread searches at a time."""


class ScannIndex(ItemIndex):
    """An index over a ScaNN searcher.

    Args:
      searcher: ScaNN's inner searcher, which nothing else uses.
      items: ids and vectors of the items, in the order of the searcher's rows.
      settings: what the kind of index needs for a search, and what it has measured, as JSON.
    """

    _vectors_file = "dataset.npy"
    """File of the vectors, float32, in the order of the ids; by default it is ScaNN's own copy."""

    def __init__(self, searcher: Any, items: VectorStore, settings: dict[str, Any]) -> None:
        self._searcher = searcher
        self._items = items
        self._settings = settings

    @property
    @override
    def ids(self) -> np.ndarray:
        return self._items.ids

    @override
    def __len__(self) -> int:
        return len(self._items)

    @property
    @override
    def width(self) -> int:
        return self._items.width

    @property
    @override
    def report(self) -> dict[str, Any]:
        return {"kind": self.kind, "items": len(self), "width": self.width, **self._settings}

    @property
    @override
    def changed(self) -> int:
        return int(self._settings["changed"])

    @override
    def search(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = self.search_rows(queries, k, thorough)
        return self._items.ids_at(rows), scores

    @override
    def search_rows(self, queries: np.ndarray, k: int, thorough: bool = False) -> tuple[np.ndarray, np.ndarray]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = checked_vectors(queries, "queries", self.width)
        found = np.full([len(queries), k], -1, dtype=np.int64)
        scores = np.full([len(queries), k], -np.inf, dtype=np.float32)
        if len(queries):
            wanted = min(k, len(self))
            rows, values = self._thorough(queries, wanted) if thorough else self._nearest(queries, wanted)
            real = np.isfinite(values)
            np.copyto(found[:, :wanted], rows, where=real, casting="unsafe")
            np.copyto(scores[:, :wanted], values, where=real)
        return found, scores

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and scores [queries, k], k at most the number of items; NaN scores where ScaNN found fewer."""
        return self._run(queries, k)

    def _thorough(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches as `_nearest` does but misses no item, whatever that costs."""
        return self._nearest(queries, k)

    def _run(self, queries: np.ndarray, k: int, reorder: int = -1, leaves: int = -1) -> tuple[np.ndarray, np.ndarray]:
        return self._searcher.search_batched(queries, k, reorder, leaves, True, BLOCK)

    @override
    def rows(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        return self._items.rows(ids)

    @override
    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        return self._items.vectors_at(rows)

    @override
    def vectors(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        rows = self.rows(ids)
        if (rows < 0).any():
            raise KeyError(f"item {quoted(ids[int(np.argmin(rows))])} is not in the index")
        return self.vectors_at(rows)

    @override
    def upsert(self, ids: Sequence[str] | np.ndarray, vectors: np.ndarray) -> None:
        new = checked_ids(ids)
        vectors = checked_vectors(vectors, "upsert", self.width, len(new))
        self._searcher.upsert(self._items.upsert(new, vectors), self._mapped(vectors), len(new))
        self._settings["changed"] += len(new)

    @override
    def delete(self, ids: Sequence[str] | np.ndarray) -> None:
        gone = checked_ids(ids)
        rows = self.rows(gone)
        if (rows < 0).any():
            raise KeyError(f"item {quoted(gone[int(np.argmin(rows))])} is not in the index, so it cannot be deleted")
        if len(gone) == len(self):
            raise ValueError("delete would leave no item; an index holds at least one")
        self._searcher.delete(self._items.delete(gone))
        self._settings["changed"] += len(gone)

    @override
    def prepare_changes(self) -> None:
        # ScaNN makes what it needs for changes at the first one: 0.85 s with 200,000 items in a tree.
        self._searcher.upsert([None], self._mapped(self.vectors_at(np.zeros(1, np.int64))), 1)
        self._searcher.delete([len(self)])

    @override
    def measure(self, queries: np.ndarray) -> float:
        return float(self._sample(queries).found(self._nearest).mean())

    def _sample(self, queries: np.ndarray) -> RecallSample:
        """Returns the queries together with the result of exact search over the current vectors."""
        queries = checked_vectors(queries, "queries", self.width)
        if not len(queries):
            raise ValueError("recall is measured on queries, got none")
        k = min(self._settings["recall_at"], len(self))
        return RecallSample(queries, kth_scores(queries, self._blocks(), k), k)

    def _blocks(self) -> Iterator[np.ndarray]:
        """Yields all vectors in row order, float32 [some, width] each."""
        for start in range(0, len(self), MEASURED):
            yield self.vectors_at(np.arange(start, min(start + MEASURED, len(self))))

    def _mapped(self, vectors: np.ndarray) -> np.ndarray:
        """Maps vectors into the space in which the searcher holds them."""
        return vectors

    @override
    def save(self, folder: Path) -> None:
        folder = Path(folder)
        if folder.exists():
            raise ValueError(f"{folder}: exists already; an index is saved to a new folder")
        folder.mkdir(parents=True)
        try:
            self._searcher.serialize(str(folder), True)
        except RuntimeError as error:
            raise OSError(None, f"ScaNN cannot write it ({' '.join(str(error).split())})", str(folder)) from None
        pd.DataFrame({columns.ITEM_ID: self.ids}).to_parquet(folder / IDS, index=False)
        self._save_more(folder)
        (folder / SETTINGS).write_text(json.dumps(self.report, indent=2) + "\n", encoding="utf-8")

    def _save_more(self, folder: Path) -> None:
        """Writes the files that a kind of index has beside those of ScaNN."""

    @classmethod
    def _loaded(cls, folder: Path, searcher: Any, items: VectorStore, settings: dict[str, Any]) -> Self:
        """Makes the index from what was loaded; a kind of index reads here what its `_save_more` has written."""
        return cls(searcher, items, settings)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        folder = Path(folder)
        settings = read_settings(folder)
        if settings.pop("kind", None) != cls.kind:
            raise ReleaseError(f"{folder / SETTINGS}: not an index of kind {cls.kind}; load it with load_index")
        if (folder / PICKLED_IDS).exists():
            raise ReleaseError(f"{folder / PICKLED_IDS}: a pickle in an index folder is never read; release it again")
        with reading(folder, _ADVICE, ReleaseError):
            items, width = settings.pop("items"), settings.pop("width")
            ids = pd.read_parquet(folder / IDS)[columns.ITEM_ID].tolist()
            vectors = stored_array(folder / cls._vectors_file, (items, width), "f", mapped=True)
            searcher = scann.load_searcher(str(folder), assets_backcompat_shim=False).searcher
            if not len(ids) == searcher.size() == items:
                raise ValueError(f"the ids, the vectors and {SETTINGS} do not belong together")
            return cls._loaded(folder, searcher, VectorStore(ids, vectors), settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads the settings of a saved index.

    Raises:
      ReleaseError: the settings are missing or broken.
    """
    path = Path(folder) / SETTINGS
    if not path.exists():
        raise ReleaseError(f"{folder}: no index here ({SETTINGS} is missing); run pipelines/release.py")
    return stored_json(path, _ADVICE, ReleaseError)
