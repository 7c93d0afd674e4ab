"""EASE (Steck 2019): the linear model from items to items, without a diagonal, that predicts the clicks best.

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
"""Rows handled at once, so that 20,000 items take the matrix itself, 3.2 GB, and half as much for the weights."""

GRID: tuple[Settings, ...] = tuple({"penalty": penalty} for penalty in (3000, 1000, 300, 100, 30, 10, 3))


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """User vectors are the histories, sparse [users, items], item vectors the columns of B, dense [items, items].

    Settings: `penalty`, lambda.
    """
    size = log.clicks.shape[1]
    trained = np.flatnonzero(log.by_item)
    # Items without a click have a row and column of zeros, and users without one add nothing.
    clicks = log.clicks[np.diff(log.clicks.indptr) > 0][:, trained]
    for settings in grid:
        leading = np.zeros((size, size), np.float32)
        leading[np.ix_(trained, trained)] = item_weights(clicks, settings["penalty"])
        yield Vectors(log.clicks, leading.T)


def item_weights(clicks: Csr, penalty: float) -> np.ndarray:
    """B, float64 [items, items], of the histories `clicks` [users, items]."""
    clicks = sparse.csr_matrix(clicks, dtype=np.float64)
    users, items = clicks.shape
    if users < items:
        # P = (I - H' (H H' + lambda I)^-1 H) / lambda, with the smaller matrix to invert.
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
    """The inverse of a symmetric positive definite matrix, float64 [n, n], in its place.

    By its Cholesky factor: half the work of a general inverse, and no second matrix in memory.
    """
    if not len(matrix):
        return matrix
    # LAPACK wants columns one after the other; of a symmetric matrix the transpose is the matrix.
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


EASE = Baseline(fits, lambda log: GRID, limits=Limits(items=20_000, clicks=5_000_000))
