"""What the kinds of index have in common: a ScaNN searcher with ids of our own beside it.

ScaNN keeps its ids in a pickle, which loading would execute; that file is deleted after every save, and ids lie in
parquet instead. Its padding (NaN scores at row 0) is masked here, and paths inside a saved index are relative, so that
the folder can move.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scann.scann_ops.py import scann_ops_pybind as scann
from typing_extensions import override

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index.base import ItemIndex, checked_ids, checked_vectors

SETTINGS = "index.json"
IDS = "ids.parquet"
VECTORS = "dataset.npy"
"""ScaNN's own copy of the vectors, float32 in the order of the ids."""
PICKLED_IDS = "scann_docids.pkl"
BLOCK = 256
"""Queries that one thread searches at a time."""


class ScannIndex(ItemIndex):
    """An index over a ScaNN searcher.

    Args:
      searcher: ScaNN's searcher; its `docids` are in the order of its rows and belong to it alone.
      vectors: the vectors it was made of, float32 [items, width]; kept, not copied, and never written to.
      settings: what the kind needs to search, and what it measured, as JSON.
    """

    def __init__(self, searcher: scann.ScannSearcher, vectors: np.ndarray, settings: dict[str, Any]) -> None:
        self._searcher = searcher
        self._settings = settings
        self._stored = vectors
        self._stored_rows = pd.Index(np.asarray(searcher.docids, dtype=object))
        self._changed: dict[str, np.ndarray] = {}
        self._ids: np.ndarray | None = None

    @property
    @override
    def ids(self) -> np.ndarray:
        if self._ids is None:
            self._ids = np.asarray(self._searcher.docids, dtype=object)
        return self._ids

    @property
    @override
    def width(self) -> int:
        return int(self._stored.shape[1])

    @property
    @override
    def report(self) -> dict[str, Any]:
        return {"kind": self.kind, "items": len(self), "width": self.width, **self._settings}

    @override
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = checked_vectors(queries, "queries", self.width)
        found = np.full([len(queries), k], "", dtype=object)
        scores = np.full([len(queries), k], -np.inf, dtype=np.float32)
        if len(queries):
            wanted = min(k, len(self))
            rows, values = self._nearest(queries, wanted)
            real = np.isfinite(values)
            found[:, :wanted] = np.where(real, self.ids[np.where(real, rows, 0)], "")
            scores[:, :wanted] = np.where(real, values, -np.inf)
        return found, scores

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores [queries, k] of the nearest, k at most the number of items; NaN where ScaNN found no more."""
        return self._run(queries, k)

    def _run(self, queries: np.ndarray, k: int, reorder: int = -1, leaves: int = -1) -> tuple[np.ndarray, np.ndarray]:
        return self._searcher.searcher.search_batched(queries, k, reorder, leaves, True, BLOCK)

    @override
    def vectors(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        wanted = np.asarray(ids, dtype=object)
        held = self._searcher.docid_to_id
        missing = next((item for item in wanted if item not in held), None)
        if missing is not None:
            raise KeyError(f"item {missing!r} is not in the index")
        rows = self._stored_rows.get_indexer(wanted)
        result = np.asarray(self._stored[rows], dtype=np.float32)
        if self._changed:
            for line, item in enumerate(wanted):
                if item in self._changed:
                    result[line] = self._changed[item]
        return result

    @override
    def upsert(self, ids: Sequence[str] | np.ndarray, vectors: np.ndarray) -> None:
        new = checked_ids(ids)
        vectors = checked_vectors(vectors, "upsert", self.width, len(new))
        self._searcher.upsert(new, vectors, batch_size=len(new))
        self._changed.update(zip(new, vectors.copy(), strict=True))
        self._ids = None

    @override
    def delete(self, ids: Sequence[str] | np.ndarray) -> None:
        gone = checked_ids(ids)
        missing = next((item for item in gone if item not in self._searcher.docid_to_id), None)
        if missing is not None:
            raise KeyError(f"item {missing!r} is not in the index, so it cannot be deleted")
        if len(gone) == len(self):
            raise ValueError("delete would leave no item; an index holds at least one")
        self._searcher.delete(gone)
        for item in gone:
            self._changed.pop(item, None)
        self._ids = None

    @override
    def save(self, folder: Path) -> None:
        folder = Path(folder)
        if folder.exists():
            raise ValueError(f"{folder}: exists already; an index is saved to a new folder")
        folder.mkdir(parents=True)
        self._searcher.serialize(str(folder), relative_path=True)
        (folder / PICKLED_IDS).unlink()
        pd.DataFrame({columns.ITEM_ID: self.ids}).to_parquet(folder / IDS, index=False)
        (folder / SETTINGS).write_text(json.dumps(self.report, indent=2) + "\n", encoding="utf-8")

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        folder = Path(folder)
        settings = read_settings(folder)
        if settings.pop("kind") != cls.kind:
            raise ReleaseError(f"{folder / SETTINGS}: not an index of kind {cls.kind}; load it with load_index")
        if (folder / PICKLED_IDS).exists():
            raise ReleaseError(f"{folder / PICKLED_IDS}: a pickle in an index folder is never read; release it again")
        try:
            ids = pd.read_parquet(folder / IDS)[columns.ITEM_ID].tolist()
            vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
            searcher = scann.load_searcher(str(folder), assets_backcompat_shim=False).searcher
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ReleaseError(f"{folder}: the index is broken or lacks a file ({reason}); release it again") from None
        items, width = settings.pop("items"), settings.pop("width")
        if not len(ids) == searcher.size() == items or vectors.shape != (items, width) or vectors.dtype != np.float32:
            raise ReleaseError(
                f"{folder}: the ids, the vectors and {SETTINGS} do not belong together; release it again"
            )
        return cls(scann.ScannSearcher(searcher, ids), vectors, settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """Contents of a saved index's settings.

    Raises:
      ReleaseError: they are missing or broken.
    """
    try:
        return json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ReleaseError(
            f"{folder}: no index here ({SETTINGS} is missing or broken); run pipelines/release.py"
        ) from None
