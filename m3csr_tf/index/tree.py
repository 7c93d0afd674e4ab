"""Tree search: it searches the leaves nearest to the query by compact codes, and rescores the best candidates exactly.

The tree is sized by the catalogue (about 2 sqrt(N) leaves) and is searched as widely as the wanted recall requires. One
half of the sample queries decides how widely, and the recall is measured on the other half.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scann.scann_ops.py import scann_ops_pybind as scann
from typing_extensions import override

from m3csr_tf import columns
from m3csr_tf.index.base import checked_ids, checked_vectors
from m3csr_tf.index.exact import ExactIndex
from m3csr_tf.index.exact_side_index import ExactSideIndex
from m3csr_tf.index.recall import RecallSample, Search, largest, queries_per_second
from m3csr_tf.index.scann_index import ScannIndex
from m3csr_tf.index.settings import SearchWidth, around, cheapest, leaf_counts, reorders, wider
from m3csr_tf.index.space import TreeSpace
from m3csr_tf.index.vector_store import VectorStore
from m3csr_tf.util.matrix_file import MatrixFile
from m3csr_tf.util.progress import progress
from m3csr_tf.util.threads import threaded_libraries

FEWEST_ITEMS = 16
"""ScaNN's codes have 16 centres for each block of dimensions, and training them takes at least as many items."""
SAMPLE = 2000
"""Number of queries on which settings are chosen and recall is measured."""
TIMED = 256
"""Number of queries of a timed search."""
TRAINING_SAMPLE = 100_000
"""Number of items on which the tree and its codes are trained."""
DIMS_PER_CODE = 2
LEAVES = 2
"""Number of leaves, in units of the square root of the number of items.

On 200,000 trained item vectors, a recall@100 of 0.983 took 192 microseconds with 894 leaves (40 searched, 200
candidates), and 303 with 447 leaves and ScaNN's noise shaping (20 searched, 300 candidates). Codes of four dimensions
lost more than they saved (0.969 with 300 candidates), and a tree with SOAR and an upsert after its build ended in a
segmentation fault.
"""
SCATTERED = 2
"""Cost of reading a byte of a candidate's vector, relative to a byte of the codes. Codes are read in sequence, at 12
bytes a nanosecond; the vectors of candidates are scattered, and are read at 6.5.
"""
LONG_SHARE = 0.01
"""Share of the items, those with the longest vectors, that are scored exactly beside the tree."""
BESIDE = "beside.parquet"
SPACE = "space.npy"
_IS_RECENT = "is_recent"
THOROUGH = 512
"""Number of queries of a thorough search that are scored at a time; scores and rows take 100 MB."""


class TreeIndex(ScannIndex):
    """A k-means tree with asymmetric hashing and exact rescoring, and some items that are scored exactly beside it.

    Its settings are leaves, leaves_to_search, max_leaves_to_search, reorder (candidates that are rescored for each item
    wanted), recall on the held-out queries, recall_at, settings_tried (recall, queries per second and speedup over
    exact search of settings near the chosen one), build_seconds (without the choice of settings) and bytes_per_item
    (vector and codes).
    """

    kind = "tree"
    _vectors_file = "vectors.npy"

    def __init__(
        self,
        searcher: Any,
        items: VectorStore,
        settings: dict[str, Any],
        space: TreeSpace,
        long: Sequence[str],
        recent: Sequence[str] = (),
    ) -> None:
        super().__init__(searcher, items, settings)
        self._space = space
        self._side_index = ExactSideIndex(items, long, recent)

    @classmethod
    def build(
        cls,
        ids: Sequence[str] | np.ndarray,
        vectors: np.ndarray,
        recall: float,
        recall_at: int,
        queries: np.ndarray | None = None,
        max_leaves: int | None = None,
    ) -> Self:
        """Builds the tree and chooses how widely it is searched.

        It takes the cheapest setting whose recall on one half of the queries, minus two standard errors of its mean,
        reaches `recall`. If the recall on the other, held-out half is too low, it widens the search until that half
        reaches it too.

        Args:
          ids: distinct ids.
          vectors: float32 [ids, width].
          recall: share of the exact nearest items that must be found, in (0, 1].
          recall_at: the k of the recall.
          queries: user vectors like those of later searches, float32 [queries, width]; without them, the item vectors
            serve as queries.
          max_leaves: largest number of leaves that a search may visit; None sets no limit.

        Raises:
          ValueError: for the same reasons as in `ItemIndex.upsert`, there are fewer than 16 items, or the recall is not
            reached.
        """
        ids = checked_ids(ids)
        vectors = checked_vectors(vectors, "index", count=len(ids))
        if len(ids) < FEWEST_ITEMS:
            raise ValueError(
                f"index.kind=tree needs {FEWEST_ITEMS} items or more, got {len(ids)}; use index.kind=exact"
            )
        queries = (
            vectors if queries is None or not len(queries) else checked_vectors(queries, "queries", vectors.shape[1])
        )
        chosen = queries[np.random.default_rng(0).permutation(len(queries))[:SAMPLE]]
        held_back = chosen[1::2] if len(chosen) > 1 else chosen
        k = min(recall_at, len(ids))
        # Exact search is timed before the tree is built, so that its memory is free again for the tree.
        with progress("timing exact search"):
            exact_rate = queries_per_second(ExactIndex.build(ids, vectors, recall_at).search_rows, held_back[:TIMED], k)
        started = time.perf_counter()
        leaves = min(len(ids), round(LEAVES * math.sqrt(len(ids))))
        space = TreeSpace.of(chosen[::2])
        mapped = vectors @ space.items
        long, long_vectors = _shorten(mapped)
        with progress(f"building a tree of {leaves:,} leaves over {len(ids):,} items"):
            searcher = (
                scann.builder(mapped, recall_at, "dot_product")
                .tree(leaves, leaves, training_sample_size=TRAINING_SAMPLE, min_partition_size=1)
                .score_ah(DIMS_PER_CODE, training_sample_size=TRAINING_SAMPLE)
                .reorder(recall_at)
                .build()
                .searcher
            )
        del mapped
        if len(long):
            searcher.upsert(long.tolist(), long_vectors, len(long))
        index = cls(
            searcher,
            VectorStore(ids, vectors),
            {
                "leaves": leaves,
                "max_leaves_to_search": max_leaves,
                "recall_at": recall_at,
                "changed": 0,
                "build_seconds": round(time.perf_counter() - started, 1),
                "bytes_per_item": 4 * vectors.shape[1] + math.ceil(vectors.shape[1] / DIMS_PER_CODE / 2),
            },
            space,
            [ids[row] for row in long],
        )
        with progress("choosing how widely to search the tree"):
            index._choose(index._sample(chosen[::2]), recall)
            sample = index._sample(held_back)
            reached = index._widen(sample, recall, index._probe)
        if reached < recall:
            raise ValueError(
                f"the tree's recall@{k} on held-back queries is {reached:.4f}, asked for is {recall} "
                "(index.recall); lower it, raise index.max_leaves_to_search, or use index.kind=exact"
            )
        index._settings["recall"] = round(reached, 4)
        index._settings["settings_tried"] = index._table(sample, exact_rate)
        return index

    @override
    def _run(self, queries: np.ndarray, k: int, reorder: int = -1, leaves: int = -1) -> tuple[np.ndarray, np.ndarray]:
        return super()._run(queries @ self._space.queries, k, reorder, leaves)

    @override
    def _mapped(self, vectors: np.ndarray) -> np.ndarray:
        return vectors @ self._space.items

    @override
    def upsert(self, ids: Sequence[str] | np.ndarray, vectors: np.ndarray) -> None:
        super().upsert(ids, vectors)
        self._side_index.upsert(list(ids))

    @override
    def delete(self, ids: Sequence[str] | np.ndarray) -> None:
        super().delete(ids)
        self._side_index.delete(list(ids))

    @override
    def _save_more(self, folder: Path) -> None:
        long, recent = self._side_index.long, self._side_index.recent
        flags = np.repeat([False, True], [len(long), len(recent)])
        frame = pd.DataFrame({columns.ITEM_ID: np.array([*long, *recent], dtype=object), _IS_RECENT: flags})
        frame.to_parquet(folder / BESIDE, index=False)
        np.save(folder / SPACE, np.stack(self._space), allow_pickle=False)
        with MatrixFile(folder / self._vectors_file, len(self), self.width) as file:
            for block in self._blocks():
                file.write(block)

    @classmethod
    @override
    def _loaded(cls, folder: Path, searcher: Any, items: VectorStore, settings: dict[str, Any]) -> Self:
        frame = pd.read_parquet(folder / BESIDE)
        ids, recent = frame[columns.ITEM_ID].to_numpy(dtype=object), frame[_IS_RECENT].to_numpy(dtype=bool)
        if (items.rows(ids) < 0).any():
            raise ValueError(f"{BESIDE} names items that are not there")
        space = TreeSpace(*np.load(folder / SPACE, allow_pickle=False))
        if space.items.shape != (items.width, items.width):
            raise ValueError(f"{SPACE} has another width than the vectors")
        return cls(searcher, items, settings, space, ids[~recent].tolist(), ids[recent].tolist())

    @property
    def _setting(self) -> SearchWidth:
        return SearchWidth(self._settings["leaves_to_search"], self._settings["reorder"])

    @_setting.setter
    def _setting(self, setting: SearchWidth) -> None:
        self._settings |= {"leaves_to_search": setting.leaves, "reorder": setting.reorder}

    @override
    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # Idle BLAS threads spin while they wait for their next product, and take the cores from ScaNN's threads: on two
        # cores, a search served 6,700 users a second with the limit and 3,500 without.
        with threaded_libraries().limit(limits=1, user_api="blas"):
            rows, scores = self._tree_alone(queries, k)
            short = ~np.isfinite(scores).all(axis=1)
            if short.any():
                # The searched leaves held fewer than k items; all leaves together hold enough.
                rows[short], scores[short] = self._run(queries[short], k, len(self), self._settings["leaves"])
            return self._side_index.merge(queries, rows, scores)

    @override
    def _thorough(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = [
            largest(queries[start : start + THOROUGH], self._blocks(), k) for start in range(0, len(queries), THOROUGH)
        ]
        rows, scores = (np.concatenate(values) for values in zip(*found, strict=True))
        return rows, scores

    def _probe(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches without falling back on all leaves: positions stay empty if the leaves hold fewer than k items.

        The choice of settings needs this, so that settings that are too narrow get a low recall.
        """
        rows, scores = self._tree_alone(queries, k)
        empty = ~np.isfinite(scores)
        rows, scores = self._side_index.merge(queries, rows, np.where(empty, -np.inf, scores))
        return rows, np.where(empty, -np.inf, scores)

    def _tree_alone(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches as many leaves as the settings say; scores are NaN where these leaves hold fewer than k items."""
        stretch = max(1.0, k / self._settings["recall_at"])  # A longer list reaches into more leaves.
        leaves = min(self._settings["leaves"], math.ceil(self._settings["leaves_to_search"] * stretch))
        candidates = self._settings["reorder"] * max(k, self._settings["recall_at"])
        return self._run(queries, k, min(len(self), math.ceil(candidates)), leaves)

    @property
    def _leaf_counts(self) -> list[int]:
        return leaf_counts(min(self._settings["leaves"], self._settings["max_leaves_to_search"] or len(self)))

    @property
    def _reorders(self) -> list[float]:
        return reorders(len(self) / min(self._settings["recall_at"], len(self)))

    def _choose(self, sample: RecallSample, recall: float) -> None:
        """Adopts the cheapest setting that reaches the recall, or the widest if none does."""

        def reaches(setting: SearchWidth) -> bool:
            self._setting = setting
            found = sample.found(self._probe)
            return bool(found.mean() - 2 * found.std() / math.sqrt(len(found)) >= recall)

        def cost(setting: SearchWidth) -> float:
            """Returns the bytes that are read; a measured time would make the choice differ from build to build."""
            codes = setting.leaves / self._settings["leaves"] * len(self) * self.width / DIMS_PER_CODE / 2
            return codes + SCATTERED * setting.reorder * sample.k * self.width * 4

        leaves, steps = self._leaf_counts, self._reorders
        # Rescoring all items is the last resort, and far too expensive to be tried first.
        chosen = cheapest(reaches, cost, leaves, steps[:-1] or steps) or cheapest(reaches, cost, leaves, steps)
        self._setting = chosen or SearchWidth(leaves[-1], steps[-1])

    def _widen(self, sample: RecallSample, recall: float, search: Search) -> float:
        """Widens the setting until the sample's recall reaches `recall`, and returns the recall of the last setting."""
        reached = float(sample.found(search).mean())
        for setting in wider(self._setting, self._leaf_counts, self._reorders):
            if reached >= recall:
                break
            self._setting = setting
            reached = float(sample.found(search).mean())
        return reached

    def _table(self, sample: RecallSample, exact_rate: float) -> list[dict[str, float]]:
        """Measures recall and speed of settings near the chosen one."""
        chosen, rows = self._setting, []
        near = around(chosen, self._leaf_counts, self._reorders)
        with progress("measuring recall and speed, settings", len(near)) as stage:
            for setting in near:
                self._setting = setting
                rate = queries_per_second(self._nearest, sample.queries[:TIMED], sample.k)
                rows.append(
                    {
                        "leaves_to_search": setting.leaves,
                        "reorder": setting.reorder,
                        "recall": round(float(sample.found(self._nearest).mean()), 4),
                        "queries_per_second": round(rate, 1),
                        "speedup": round(rate / exact_rate, 2),
                    }
                )
                stage(len(rows))
        self._setting = chosen
        return rows


def _shorten(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shortens the longest vectors to the length of the rest, in place; returns their rows and their original values.

    A few vectors that are several times as long as the others would attract centres and spoil all codes. Therefore the
    tree is trained on the shortened ones, and gets the original ones by an upsert afterwards.
    """
    norms = np.linalg.norm(vectors, axis=1)
    order = np.argsort(-norms, kind="stable")
    count = int(LONG_SHARE * len(vectors))
    long, limit = order[:count], norms[order[count]]
    were = vectors[long]
    vectors[long] *= (limit / np.maximum(norms[long], np.finfo(np.float32).tiny))[:, np.newaxis]
    return long, were
