"""Exact search, which scores every item; it suits catalogues of up to some tens of thousands of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scann.scann_ops.py import scann_ops_pybind as scann

from m3csr_tf.index.base import checked_ids, checked_vectors
from m3csr_tf.index.scann_index import ScannIndex
from m3csr_tf.index.vector_store import VectorStore

NEIGHBOURS = 10
"""The default k that ScaNN requires; every search passes its own."""


class ExactIndex(ScannIndex):
    """Brute-force search in ScaNN's kernels, whose recall is 1 by construction."""

    kind = "exact"

    @classmethod
    def build(cls, ids: Sequence[str] | np.ndarray, vectors: np.ndarray, recall_at: int) -> Self:
        """Builds the index.

        Args:
          ids: distinct ids.
          vectors: float32 [ids, width].
          recall_at: the k of the recall that `measure` reports.

        Raises:
          ValueError: for the same reasons as in `ItemIndex.upsert`, or there is no item.
        """
        ids = checked_ids(ids)
        vectors = checked_vectors(vectors, "index", count=len(ids))
        searcher = scann.builder(vectors, NEIGHBOURS, "dot_product").score_brute_force().build().searcher
        return cls(searcher, VectorStore(ids, vectors), {"recall": 1.0, "recall_at": recall_at, "changed": 0})
