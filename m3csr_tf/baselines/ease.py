"""EASE (Steck 2019): the linear item-to-item model with zero diagonal that reconstructs the clicks best.

With P = (H'H + lambda I)^-1 and H the histories, B_ij = -P_ij / P_jj off the diagonal and 0 on it; scores are H B.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.ranking.full_ranking import Csr, Vectors

_BLOCK = 1024
"""Number of rows handled at once. With 20,000 items, the matrix takes 3.2 GB, and the weights half as much."""

GRID: tuple[Settings, ...] = tuple({"penalty": penalty} for penalty in (3000, 1000, 300, 100, 30, 10, 3))


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields histories, sparse [users, items], as user vectors, and columns of B, dense [items, items], as items'.

    Settings: `penalty`, lambda.
    """
    size = log.clicks.shape[1]
    trained = np.flatnonzero(log.by_item)
    # Restricting the matrix changes nothing: unclicked items have zero rows and columns, idle users add nothing.
    clicks = log.clicks[np.diff(log.clicks.indptr) > 0][:, trained]
    for settings in grid:
        leading = np.zeros((size, size), np.float32)
        leading[np.ix_(trained, trained)] = item_weights(clicks, settings["penalty"])
        yield Vectors(log.clicks, leading.T)


def item_weights(clicks: Csr, penalty: float) -> np.ndarray:
    """Computes B, float64 [items, items], from the histories `clicks` [users, items]."""
    clicks = sparse.csr_matrix(clicks, dtype=np.float64)
    users, items = clicks.shape
    if users < items:
        # By the Woodbury identity, P = (I - H' (H H' + lambda I)^-1 H) / lambda, which inverts the smaller matrix.
        inner = _inverse((clicks @ clicks.T).toarray() + penalty * np.eye(users))
        weights = clicks.T @ (clicks.T @ inner).T
        np.negative(weights, out=weights)
        weights[np.diag_indices(items)] += 1
        weights /= penalty
    else:
        by_item, weights = clicks.T.tocsr(), np.empty((items, items))
        for start in range(0, items, _BLOCK):
            weights[start : start + _BLOCK] = (by_item[start : start + _BLOCK] @ clicks).toarray()
        weights[np.diag_indices(items)] += penalty
        weights = _inverse(weights)
    weights /= -np.diag(weights).copy()
    weights[np.diag_indices(items)] = 0
    return weights


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverts a symmetric positive definite matrix, float64 [n, n], in place.

    The Cholesky factor takes half the work of a general inverse, and no second matrix in memory.

    Raises:
      LinAlgError: the matrix is not positive definite.
    """
    if not len(matrix):
        return matrix
    # LAPACK expects column-major order, and the transpose of a symmetric matrix is the matrix itself.
    factor, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise np.linalg.LinAlgError(f"a matrix of {len(matrix)} rows is not positive definite; raise the penalty")
    for start in range(0, len(inverse), _BLOCK):
        some = slice(start, start + _BLOCK)
        inverse[some, start + _BLOCK :] = inverse[start + _BLOCK :, some].T
        square = np.tril(inverse[some, some])
        inverse[some, some] = square + np.tril(square, -1).T
    return inverse.T


EASE = Baseline(fits, lambda log: GRID, limits=Limits(items=20_000, clicks=5_000_000), takes_weights=True)
