"""Tree search: leaves near the query, compact codes inside them, then exact scores for the best of those.

The tree is sized from the catalogue (about sqrt(N) leaves) and searched as widely as it takes to reach the wanted
recall, which is measured against exact search on sample queries at every build.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from scann.scann_ops.py import scann_ops_pybind as scann
from typing_extensions import override

from m3csr_tf.index.base import checked_ids, checked_vectors
from m3csr_tf.index.held import HeldItems
from m3csr_tf.index.scann_index import ScannIndex

FEWEST_ITEMS = 16
"""ScaNN's codes have 16 centres a block, and training them takes as many items."""
SAMPLE = 1000
"""Queries that recall is measured on."""
TRAINING_SAMPLE = 100_000
"""Items that the tree and its codes are trained on."""
DIMS_PER_CODE = 2
NOISE_SHAPING = 0.2
"""ScaNN's usual threshold for dot products: errors parallel to an item's vector weigh more."""
REORDER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Candidates rescored exactly, as multiples of k, from cheap to dear."""


class TreeIndex(ScannIndex):
    """A k-means tree with asymmetric hashing and exact reordering.

    Settings: leaves, leaves_to_search, reorder (candidates rescored for each item wanted), recall, recall_at.
    """

    kind = "tree"

    @classmethod
    def build(
        cls,
        ids: Sequence[str] | np.ndarray,
        vectors: np.ndarray,
        recall: float,
        recall_at: int,
        queries: np.ndarray | None = None,
    ) -> Self:
        """Builds the tree and measures how widely to search it.

        The cheapest setting is taken whose recall on the sample, less two standard errors of its mean, reaches
        `recall`. Searching every leaf and rescoring every item is exact, so there always is one.

        Args:
          ids: distinct ids.
          vectors: float32 [ids, width].
          recall: share of the exact nearest that must be found, (0, 1].
          recall_at: how many nearest to look at.
          queries: float32 [queries, width] like those to come, i.e. user vectors; without them, the items' own
            vectors stand in.

        Raises:
          ValueError: as in `ItemIndex.upsert`, or there are fewer than 16 items.
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
        chosen = np.random.default_rng(0).permutation(len(queries))[:SAMPLE]
        leaves = max(1, round(math.sqrt(len(ids))))
        searcher = (
            scann.builder(vectors, recall_at, "dot_product")
            .tree(leaves, leaves, training_sample_size=TRAINING_SAMPLE, min_partition_size=1)
            .score_ah(DIMS_PER_CODE, NOISE_SHAPING, training_sample_size=TRAINING_SAMPLE)
            .reorder(recall_at)
            .build()
            .searcher
        )
        settings = {"leaves": leaves, "recall_at": recall_at}
        index = cls(searcher, HeldItems(ids, vectors), settings)
        index._widen(queries[chosen], recall, vectors)
        return index

    @override
    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = self._probe(queries, k)
        short = ~np.isfinite(scores).all(axis=1)
        if short.any():
            # Those leaves held fewer than k items; all of them together hold enough.
            rows[short], scores[short] = self._run(queries[short], k, len(self), self._settings["leaves"])
        return rows, scores

    def _probe(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches as many leaves as the settings say; NaN where they hold fewer than k items."""
        stretch = max(1.0, k / self._settings["recall_at"])  # A longer list reaches into more leaves.
        leaves = min(self._settings["leaves"], math.ceil(self._settings["leaves_to_search"] * stretch))
        candidates = self._settings["reorder"] * max(k, self._settings["recall_at"])
        return self._run(queries, k, min(len(self), math.ceil(candidates)), leaves)

    def _widen(self, queries: np.ndarray, recall: float, vectors: np.ndarray) -> None:
        """Chooses leaves_to_search and reorder."""
        k = min(self._settings["recall_at"], len(self))
        cut = _kth_score(queries, vectors, k)

        def measure(leaves: int, reorder: float) -> tuple[float, float]:
            self._settings |= {"leaves_to_search": leaves, "reorder": reorder}
            found = (self._probe(queries, k)[1] >= cut[:, np.newaxis]).mean(axis=1)
            error = found.std() / math.sqrt(len(found))
            return float(found.mean()), float(found.mean() - 2 * error)

        everything = len(self) / k
        halfway = (1 + recall) / 2  # Leaves may lose half of what may be lost, codes the other half.
        low, high = 1, self._settings["leaves"]
        while low < high:
            middle = (low + high) // 2
            if measure(middle, min(REORDER[-1], everything))[1] >= halfway:
                high = middle
            else:
                low = middle + 1
        for reorder in (*(step for step in REORDER if step < everything), everything):
            measured, safe = measure(high, reorder)
            if safe >= recall:
                break
        else:
            measured, _ = measure(self._settings["leaves"], everything)
        self._settings["recall"] = round(measured, 4)


def _kth_score(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """Exact score of the k-th nearest, less float32's rounding, [queries]; in blocks, as scores take much memory."""
    cuts = []
    for block in np.array_split(queries, math.ceil(len(queries) / 64)):
        scores = block @ vectors.T
        kth = np.partition(scores, -k, axis=1)[:, -k]
        cuts.append(kth - 1e-5 * np.abs(scores).max(axis=1))
    return np.concatenate(cuts)
