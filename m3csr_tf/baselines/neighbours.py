"""The most similar lines of each line of a matrix, ties settled at random: what the kNN baselines are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from m3csr_tf.best import Best, random_columns, random_rows
from m3csr_tf.evaluation.ranking import Csr
from m3csr_tf.threads import cores, each_worker

_ROWS = 256


class Neighbours(NamedTuple):
    """The neighbours of some lines, most similar first.

    Attributes:
      lines: int [n], whose they are.
      places: int [n, count], which lines they are.
      weights: float32 [n, count], their similarities; 0 or less where there is no neighbour.
    """

    lines: np.ndarray
    places: np.ndarray
    weights: np.ndarray

    def matrix(self, size: int, count: int) -> sparse.csr_matrix:
        """The `count` nearest, float32 [size, size]: row i holds the weights of line i's neighbours."""
        line, place = np.nonzero(self.weights[:, :count] > 0)
        where = (self.lines[line], self.places[line, place])
        return sparse.csr_matrix((self.weights[line, place], where), shape=(size, size))


def nearest(
    similarities: Callable[[np.ndarray], np.ndarray], lines: np.ndarray, size: int, count: int, seed: int = 0
) -> Neighbours:
    """The `count` most similar lines of each of `lines`, never itself, nor one whose similarity is 0 or less.

    Equally similar lines are drawn at random: their order in the catalogue may tell their popularity or age.

    Args:
      similarities: gives those of some lines, int [n], to all lines, float32 [n, size], which may be written to.
      lines: int [n], whose neighbours are wanted.
      size: how many lines there are.
      count: neighbours of a line, at most.
      seed: of the draw.
    """
    count = min(count, size)
    places, weights = np.zeros((len(lines), count), np.int32), np.zeros((len(lines), count), np.float32)
    row_keys, column_keys = random_rows(seed, size), random_columns(np.arange(size))
    starts = range(0, len(lines), _ROWS)
    workers = max(1, min(cores(), len(starts)))

    def work(worker: int) -> None:
        for start in starts[worker::workers]:
            some = lines[start : start + _ROWS]
            found = np.asarray(similarities(some), np.float32)
            found[np.arange(len(some)), some] = 0
            # No neighbours; and as many equal zeros would be drawn from at length.
            found[found <= 0] = -np.inf
            best = Best(count, row_keys[some], column_keys)
            best.offer(found, 0, np.empty(found.shape, bool))
            places[start : start + _ROWS], weights[start : start + _ROWS] = best.lists()

    each_worker(work, workers)
    return Neighbours(lines, places, weights)


def cosine_neighbours(lines: Csr, asymmetry: float, discount: float, shrinkage: float, count: int) -> Neighbours:
    """Neighbours of binary lines by an asymmetric, discounted and shrunk cosine of their ones.

    The similarity of line i to line j is sum_m o_m^-discount / (n_i^asymmetry n_j^(1 - asymmetry) + shrinkage), over
    the columns m where both have a one, with n the ones of a line and o those of a column. 0.5, 0, 0 is the plain
    cosine; asymmetry is from Aiolli (2013), a discount counts what few share for more (Breese et al. 1998 take a
    logarithm), and shrinkage holds back what rests on a few ones (Ferrari Dacrema et al. 2019).

    Args:
      lines: [n, m] of 1s.
      asymmetry: from 0 to 1.
      discount, shrinkage: 0 or more.
      count: neighbours of a line, at most.
    """
    lines = sparse.csr_matrix(lines, dtype=np.float32)
    counts = np.diff(lines.indptr).astype(np.float64)
    of_columns = np.maximum(np.bincount(lines.indices, minlength=lines.shape[1]), 1) ** -float(discount)
    across = (lines @ sparse.diags(of_columns)).T.tocsr().astype(np.float32)
    own, others = np.maximum(counts, 1) ** asymmetry, np.maximum(counts, 1) ** (1 - asymmetry)

    def similarities(some: np.ndarray) -> np.ndarray:
        shared = (lines[some] @ across).toarray()
        shared /= (np.outer(own[some], others) + shrinkage).astype(np.float32)
        return shared

    # A line without ones has no neighbours.
    return nearest(similarities, np.flatnonzero(counts), len(counts), count)
