"""Finds the most similar rows of each row of a matrix, with ties broken at random, for the kNN baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf.ranking.full_ranking import Csr
from m3csr_tf.ranking.top_k import TopK, positions_in_rows, random_columns, random_rows
from m3csr_tf.util.threads import cores, each_worker

_ROWS = 256

_Ranked: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""For a block of rows: the number of neighbours of each, and their indices and similarities, concatenated."""


class Neighbours(NamedTuple):
    """The neighbours of each row of a matrix.

    Attributes:
      ranked: float32 [size, size]. Row i holds the similarities of row i's neighbours, most similar first, so its
        column indices are not sorted.
    """

    ranked: sparse.csr_matrix

    def matrix(self, count: int) -> sparse.csr_matrix:
        """Returns the `count` nearest neighbours of each row, float32 [size, size], with sorted indices."""
        sizes = np.diff(self.ranked.indptr)
        kept = positions_in_rows(sizes) < count
        indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, count))])
        parts = (self.ranked.data[kept], self.ranked.indices[kept], indptr)
        result = sparse.csr_matrix(parts, shape=self.ranked.shape)
        result.sort_indices()
        return result


def nearest(
    similarities: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray, size: int, count: int, seed: int = 0
) -> Neighbours:
    """Finds the `count` most similar rows of each row in `wanted`, except itself and rows of similarity 0 or less.

    Ties are broken at random, because the order of the catalogue may be related to the popularity or age of items.

    Args:
      similarities: maps some rows, int [n], to their similarities to all rows, float32 [n, size]; the result may be
        overwritten.
      wanted: the rows whose neighbours are wanted, int [n], ascending.
      size: number of all rows.
      count: largest number of neighbours of a row.
      seed: seed of the random tie-breaking.
    """
    count = min(count, size)
    row_keys, column_keys = random_rows(seed, size), random_columns(np.arange(size))

    def neighbours_of(some: np.ndarray) -> _Ranked:
        scores = np.asarray(similarities(some), np.float32)
        scores[np.arange(len(some)), some] = 0
        # Rows with a similarity of 0 are no neighbours, and breaking ties among so many zeros would be slow.
        scores[scores <= 0] = -np.inf
        top_k = TopK(count, row_keys[some], column_keys)
        top_k.update(scores, 0, np.empty(scores.shape, bool))
        columns, weights = top_k.lists()
        kept = weights > 0
        return kept.sum(axis=1), columns[kept], weights[kept]

    return _gathered(neighbours_of, wanted, size)


def cosine_neighbours(
    profiles: Csr, asymmetry: float, discount: float, shrinkage: float, count: int, seed: int = 0
) -> Neighbours:
    """Finds neighbours among rows of clicks by an asymmetric, discounted and shrunk cosine.

    The similarity of row i to row j is sum_m w_im w_jm o_m^-discount / (n_i^asymmetry n_j^(1 - asymmetry) + shrinkage).
    n is the sum of the squared weights of a row, and o the sum of the weights of a column; of ones, both are their
    number. (0.5, 0, 0) is the plain cosine. The asymmetry is from Aiolli (2013); the discount gives more weight to
    columns that few rows share (Breese et al. 1998 use a logarithm); and shrinkage lowers similarities that rest on a
    few ones (Ferrari Dacrema et al. 2019).

    Args:
      profiles: the rows, sparse [n, m] of 1s, or of weights above 0.
      asymmetry: from 0 to 1.
      discount, shrinkage: 0 or more.
      count: largest number of neighbours of a row.
      seed: seed of the random tie-breaking.
    """
    profiles = sparse.csr_matrix(profiles, dtype=np.float32)
    weights = profiles.data.astype(np.float64)
    size, filled = profiles.shape[0], np.diff(profiles.indptr) > 0
    row_of = np.repeat(np.arange(size), np.diff(profiles.indptr))
    squares = _or_one(np.bincount(row_of, weights**2, minlength=size))
    column_weights = _or_one(np.bincount(profiles.indices, weights, profiles.shape[1])) ** -float(discount)
    across = (profiles @ sparse.diags(column_weights)).T.tocsr().astype(np.float32)
    own, others = squares**asymmetry, squares ** (1 - asymmetry)

    def neighbours_of(some: np.ndarray) -> _Ranked:
        shared = profiles[some] @ across
        row, column = np.repeat(np.arange(len(some)), np.diff(shared.indptr)), shared.indices
        cosines = (shared.data / (own[some][row] * others[column] + shrinkage)).astype(np.float32)
        cosines[column == some[row]] = 0
        # The seed depends on the block alone, so that ties are broken alike whatever the number of threads.
        drawn = np.random.default_rng([seed, int(some[0])]).random(len(row))
        order = np.lexsort((drawn, -cosines, row))
        order = order[cosines[order] > 0]
        sizes = np.bincount(row[order], minlength=len(some))
        order = order[positions_in_rows(sizes) < count]
        return np.minimum(sizes, count), column[order], cosines[order]

    # Rows without clicks are skipped, since they have no neighbours.
    return _gathered(neighbours_of, np.flatnonzero(filled), size)


def _or_one(sums: np.ndarray) -> np.ndarray:
    """Returns sums with 1 in the place of 0, for powers of them that nothing is multiplied with."""
    return np.where(sums > 0, sums, 1.0)


def _gathered(neighbours_of: Callable[[np.ndarray], _Ranked], wanted: np.ndarray, size: int) -> Neighbours:
    """Finds the neighbours of the rows `wanted`, which ascend, block by block on all cores."""
    starts = range(0, len(wanted), _ROWS)
    parts: list[_Ranked] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32))] * len(starts)
    workers = max(1, min(cores(), len(starts)))

    def work(worker: int) -> None:
        for number in range(worker, len(starts), workers):
            parts[number] = neighbours_of(wanted[starts[number] : starts[number] + _ROWS])

    each_worker(work, workers)
    sizes = np.zeros(size, np.int64)
    if not parts:
        return Neighbours(sparse.csr_matrix((size, size), dtype=np.float32))
    sizes[wanted] = np.concatenate([part[0] for part in parts])
    columns, weights = (np.concatenate([part[which] for part in parts]) for which in (1, 2))
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return Neighbours(sparse.csr_matrix((weights.astype(np.float32), columns, indptr), shape=(size, size)))
