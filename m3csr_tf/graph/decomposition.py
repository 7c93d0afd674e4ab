"""A randomised decomposition that tells how far it is: scikit-learn's, of a matrix that counts its products."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from m3csr_tf.util.progress import Tell

_ENTRIES = 1 << 27
"""Entries of a matrix times columns of a product that are multiplied at once, half a second: as long as scipy keeps
all other threads waiting, those that say how far it is among them."""


def singular_vectors(
    matrix: csr_matrix, rank: int, turns: int, seed: int, told: Tell | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The largest singular values [rank] and their right singular vectors [rank, columns], as `randomized_svd`.

    Args:
      matrix: float64 [rows, columns].
      rank: how many.
      turns: power iterations.
      seed: of the first vectors.
      told: told how many products with the matrix are made, and of how many.
    """
    counted = _Counted(matrix)
    counted.told, counted.total = told, 2 * turns + 2  # Two a turn, one before them, and one on the basis they find.
    _, values, directions = randomized_svd(counted, rank, n_iter=turns, random_state=seed)
    return values, directions


class _Counted(csr_matrix):
    """A matrix whose products with dense ones are made by blocks of rows, and counted."""

    told: Tell | None = None
    total = 0
    made = 0
    _transposed: _Counted | None = None

    def transpose(self, axes: Any = None, copy: bool = False) -> csr_matrix:
        if self._transposed is None:
            self._transposed = _Counted(csr_matrix(self).transpose(axes, copy).tocsr())
            self._transposed.told, self._transposed.total = self._count, self.total
            self._transposed._transposed = self
        return self._transposed

    def _matmul_multivector(self, other: np.ndarray) -> np.ndarray:
        most = max(1, _ENTRIES // other.shape[1])
        ends = np.searchsorted(self.indptr, np.arange(most, self.nnz + most, most), side="right") - 1
        borders = np.unique(np.concatenate([[0], ends, [self.shape[0]]]))
        plain = csr_matrix(self)
        made = [plain[begin:end] @ other for begin, end in itertools.pairwise(borders)]
        self._count()
        return np.concatenate(made) if made else plain @ other

    def _count(self, *_: Any) -> None:
        if self.told is not None:
            self.made += 1
            self.told(self.made, self.total)
