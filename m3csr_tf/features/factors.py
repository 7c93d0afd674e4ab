"""Where id embeddings start: the singular vectors of the training clicks (Sarwar et al. 2000).

The decomposition is of D_u^-1/2 R, the click matrix with each user's line divided by the root of her clicks, so that a
heavy user counts no more than a light one. The products of the lines that come out are R' D_u^-1 R at low rank: the
probability of walking from one item over a user to the other, times the first one's clicks. Popular items have long
lines, and items that share users start close together.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.utils.extmath import randomized_svd


def item_factors(clicks: csr_matrix, dim: int, seed: int) -> np.ndarray:
    """Start of the id embeddings.

    Args:
      clicks: binary user x item matrix of training clicks.
      dim: width d; directions beyond the rank of the matrix are zero.
      seed: of the randomised decomposition.

    Returns:
      float32 [items, dim], singular directions times their values, scaled to a root-mean-square norm of 1 over the
      clicked items; zeros for items without a click.
    """
    of_users = np.maximum(np.asarray(clicks.sum(axis=1)).ravel(), 1)
    _, values, directions = randomized_svd(diags(of_users**-0.5) @ clicks, min(dim, *clicks.shape), random_state=seed)
    factors = np.zeros((clicks.shape[1], dim), np.float32)
    factors[:, : len(values)] = (directions * values[:, None]).T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    factors[~clicked] = 0
    return factors / max(np.sqrt((factors[clicked] ** 2).sum(axis=1).mean()), 1e-12)
