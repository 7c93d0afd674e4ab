"""Logs of a few users and items, without reserved rows, for numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from m3csr_tf.baselines.log import Log
from m3csr_tf.ranking.full_ranking import Vectors


def log_of(clicks: list[list[int]] | np.ndarray, **content: np.ndarray) -> Log:
    matrix = sparse.csr_matrix(np.array(clicks, np.float32))
    return Log(matrix, content, np.ones(matrix.shape[1], bool))


def scores(vectors: Vectors) -> np.ndarray:
    """Scores of all users and items, [users, items]; users' vectors must be a matrix."""
    found = vectors.user_vectors @ vectors.item_vectors.T
    return found if isinstance(found, np.ndarray) else found.toarray()
