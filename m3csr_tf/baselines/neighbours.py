"""The most similar rows of each row of a matrix, ties settled at random: what the kNN baselines are made of."""

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
"""Of a block of rows: how many neighbours each has, and one row's after the other which they are and how similar."""


class Neighbours(NamedTuple):
    """The neighbours of each row.

    Attributes:
      ranked: float32 [size, size], where row i holds the similarities of row i's neighbours, most similar first: its
        indices are not in order.
    """

    ranked: sparse.csr_matrix

    def matrix(self, count: int) -> sparse.csr_matrix:
        """The `count` nearest of each row, float32 [size, size], with sorted indices."""
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
    """The `count` most similar rows of each of `wanted`, never itself, nor one whose similarity is 0 or less.

    Equally similar rows are drawn at random: their order in the catalogue may tell their popularity or age.

    Args:
      similarities: gives those of some rows, int [n], to all rows, float32 [n, size], which may be written to.
      wanted: int [n], ascending, the rows whose neighbours are wanted.
      size: how many rows there are.
      count: neighbours of a row, at most.
      seed: of the draw.
    """
    count = min(count, size)
    row_keys, column_keys = random_rows(seed, size), random_columns(np.arange(size))

    def neighbours_of(some: np.ndarray) -> _Ranked:
        scores = np.asarray(similarities(some), np.float32)
        scores[np.arange(len(some)), some] = 0
        # No neighbours; and as many equal zeros would be drawn from at length.
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
    """Neighbours of binary rows by an asymmetric, discounted and shrunk cosine of their ones.

    The similarity of row i to row j is sum_m o_m^-discount / (n_i^asymmetry n_j^(1 - asymmetry) + shrinkage), over
    the columns m where both have a one, with n the ones of a row and o those of a column. 0.5, 0, 0 is the plain
    cosine; asymmetry is from Aiolli (2013), a discount counts what few share for more (Breese et al. 1998 take a
    logarithm), and shrinkage holds back what rests on a few ones (Ferrari Dacrema et al. 2019).

    Args:
      profiles: sparse [n, m] of 1s.
      asymmetry: from 0 to 1.
      discount, shrinkage: 0 or more.
      count: neighbours of a row, at most.
      seed: of the draw among equally similar ones.
    """
    profiles = sparse.csr_matrix(profiles, dtype=np.float32)
    size, counts = profiles.shape[0], np.diff(profiles.indptr).astype(np.float64)
    column_weights = np.maximum(np.bincount(profiles.indices, minlength=profiles.shape[1]), 1) ** -float(discount)
    across = (profiles @ sparse.diags(column_weights)).T.tocsr().astype(np.float32)
    own, others = np.maximum(counts, 1) ** asymmetry, np.maximum(counts, 1) ** (1 - asymmetry)

    def neighbours_of(some: np.ndarray) -> _Ranked:
        shared = profiles[some] @ across
        row, column = np.repeat(np.arange(len(some)), np.diff(shared.indptr)), shared.indices
        cosines = (shared.data / (own[some][row] * others[column] + shrinkage)).astype(np.float32)
        cosines[column == some[row]] = 0
        # Of equal ones any: the draw is the same whatever the number of threads.
        drawn = np.random.default_rng([seed, int(some[0])]).random(len(row))
        order = np.lexsort((drawn, -cosines, row))
        order = order[cosines[order] > 0]
        sizes = np.bincount(row[order], minlength=len(some))
        order = order[positions_in_rows(sizes) < count]
        return np.minimum(sizes, count), column[order], cosines[order]

    # A row without ones has no neighbours.
    return _gathered(neighbours_of, np.flatnonzero(counts), size)


def _gathered(neighbours_of: Callable[[np.ndarray], _Ranked], wanted: np.ndarray, size: int) -> Neighbours:
    """The neighbours of `wanted`, ascending, found a block of rows at a time, by all cores."""
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
