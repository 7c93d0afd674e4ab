"""Randomised singular value decomposition with progress.

The algorithm is scikit-learn's. Progress is reported by a matrix that counts the products made with it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from m3csr_tf.util.progress import ProgressCallback

_ENTRIES = 1 << 27
"""Largest number of multiplications in one call of scipy: stored entries of the matrix, times columns of the dense
factor. Such a call takes half a second, during which all other threads stand still, including the one that shows
progress."""


def singular_vectors(
    matrix: csr_matrix, rank: int, turns: int, seed: int, on_progress: ProgressCallback | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the largest singular values and their right singular vectors, as scikit-learn's `randomized_svd` does.

    Args:
      matrix: float64 [rows, columns].
      rank: number of singular values.
      turns: number of power iterations.
      seed: seed of the random initial vectors.
      on_progress: progress callback, which gets the number of products with the matrix that are made and of all of
        them.

    Returns:
      Singular values float64 [rank], descending, and right singular vectors float64 [rank, columns].
    """
    counted = _Counted(matrix)
    # Each power iteration makes two products; one is made before them, and one with the basis that they find.
    counted.on_progress, counted.total = on_progress, 2 * turns + 2
    if on_progress is not None:
        on_progress(0, counted.total)
    _, values, directions = randomized_svd(counted, rank, n_iter=turns, random_state=seed)
    return values, directions


class _Counted(csr_matrix):
    """A sparse matrix whose products with dense matrices are computed by blocks of rows, and counted.

    The products of its transpose are counted with its own.
    """

    on_progress: ProgressCallback | None = None
    total = 0
    made = 0
    _transposed: _Counted | None = None

    def transpose(self, axes: Any = None, copy: bool = False) -> csr_matrix:
        if self._transposed is None:
            self._transposed = _Counted(csr_matrix(self).transpose(axes, copy).tocsr())
            self._transposed.on_progress, self._transposed.total = self._count, self.total
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
        if self.on_progress is not None:
            self.made += 1
            self.on_progress(self.made, self.total)
