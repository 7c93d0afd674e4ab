"""Where id embeddings start: the singular vectors of the training clicks (Sarwar et al. 2000), scaled by degree.

An item's line is its part of the truncated decomposition of D_u^-1/2 R D_i^-1/2, the normalised click matrix whose
products are walks from item to user to item; items that share users start close together.
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
      float32 [items, dim], singular directions scaled by the root of their value; lines of items without a click are 0.
      Its lines have a root-mean-square norm of 1 over the clicked items.
    """
    of_users = np.maximum(np.asarray(clicks.sum(axis=1)).ravel(), 1)
    of_items = np.maximum(np.asarray(clicks.sum(axis=0)).ravel(), 1)
    normalised = diags(of_users**-0.5) @ clicks @ diags(of_items**-0.5)
    _, values, directions = randomized_svd(normalised, min(dim, *clicks.shape), random_state=seed)
    factors = np.zeros((clicks.shape[1], dim), np.float32)
    factors[:, : len(values)] = (directions * np.sqrt(values)[:, None]).T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    return factors / max(np.sqrt((factors[clicked] ** 2).sum(axis=1).mean()), 1e-12)
