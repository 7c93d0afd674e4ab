"""Linear maps of content, estimated from clicks in closed form.

There are two: a map into a space in which items that the same users click are similar, and the popularity that content
predicts. Gradient steps, which follow the noise of each batch, do not learn such maps from some ten thousand clicks;
least squares over all clicks at once do. The towers are initialised with these maps (`models.m3csr.initial_weights`),
and training changes them slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from m3csr_tf.config import InitialConfig

DEFAULTS = InitialConfig()


def co_click_similarity(clicks: csr_matrix, content: np.ndarray, settings: InitialConfig = DEFAULTS) -> np.ndarray:
    """Estimates a similarity x . A y of content x and y that is high if users who click the one also click the other.

    A is the symmetric part of the bilinear least-squares fit of x_i A y_j to the probabilities of a random walk from
    item i over one of its users to item j, beyond what the walk's frequencies of leaving i and of reaching j explain.

    Args:
      clicks: binary [users, items] training clicks.
      content: scaled content of one modality, float32 [items, width]; a row of zeros is absent.
      settings: the section model.initial, of which co_click_ridge counts.

    Returns:
      A, float64 [width, width], scaled so that the entries of its diagonal have a mean size of 1; zeros if no walk
      leads from one item to another.
    """
    width = content.shape[1]
    item_rows = np.flatnonzero((content != 0).any(axis=1) & (np.asarray(clicks.sum(axis=0)).ravel() > 0))
    shown, vectors = clicks.tocsc()[:, item_rows].tocsr().astype(np.float64), content[item_rows].astype(np.float64)
    by_item = np.asarray(shown.sum(axis=0)).ravel()
    to_users = diags(1 / np.maximum(by_item, 1)) @ shown.T
    to_items = diags(1 / np.maximum(np.asarray(clicks.sum(axis=1), np.float64).ravel(), 1)) @ shown
    # The walk is multiplied out over users, since a matrix of all pairs of items would not fit in memory for a large
    # catalogue. Returns to the same item are subtracted.
    returning = np.asarray(to_users.multiply(to_items.T).sum(axis=1)).ravel()
    onward = to_users @ np.asarray(to_items.sum(axis=1)).ravel() - returning
    leaves = onward > 1e-9
    if not leaves.any():
        return np.zeros((width, width))
    scale = np.divide(leaves, onward, out=np.zeros(len(onward)), where=leaves)
    arrived = scale[:, None] * (to_users @ (to_items @ vectors) - returning[:, None] * vectors)
    reached = vectors.T @ (to_items.T @ (to_users.T @ scale) - returning * scale)
    spread = vectors.T @ vectors / len(vectors)
    inverse = np.linalg.inv(spread + settings.co_click_ridge * np.trace(spread) / width * np.eye(width))
    moved = vectors.T @ arrived - np.outer(leaves @ vectors, reached) / leaves.sum()
    similarity = inverse @ moved @ inverse
    similarity += similarity.T
    return np.asarray(similarity / max(np.abs(np.diag(similarity)).mean(), 1e-12))


def content_map(similarity: np.ndarray, dim: int) -> np.ndarray:
    """Returns P, float32 [width, dim], such that P P^T approximates a similarity without its negative eigenvalues.

    Its columns are in descending order of eigenvalue; those beyond the content's width are zeros.

    Args:
      similarity: symmetric, float64 [width, width].
      dim: number of columns of P.
    """
    width = len(similarity)
    strengths, directions = np.linalg.eigh(similarity)
    # The sign of an eigenvector is arbitrary. Its largest entry is made positive, so that all libraries give the same.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(width)])
    strongest = np.argsort(strengths, kind="stable")[::-1][:dim]
    mapped = np.zeros((width, dim), np.float32)
    mapped[:, : len(strongest)] = directions[:, strongest] * np.sqrt(np.maximum(strengths[strongest], 0))
    return mapped


def content_popularity_weights(
    clicks: csr_matrix, content: Mapping[str, np.ndarray], settings: InitialConfig = DEFAULTS
) -> dict[str, np.ndarray]:
    """Estimates the content popularity bias: how the popularity of an item depends on its content, whoever the user is.

    For a user without a history this is all that is known about a new item. The weights are those of a ridge regression
    of log(1 + clicks) on the content of the clicked items, where the clicks of each user are weighted to sum to 1.

    Args:
      clicks: binary [users, items] training clicks.
      content: modality -> scaled or mapped content float32 [items, width]; a row of zeros is absent.
      settings: the section model.initial, of which popularity_ridge counts.

    Returns:
      Modality -> weights float32 [width].
    """
    popularity = np.asarray(normalize(clicks.astype(np.float64), norm="l1").sum(axis=0)).ravel()
    joined = np.concatenate(list(content.values()), axis=1)[popularity > 0]
    widths = [vectors.shape[1] for vectors in content.values()]
    weights = np.zeros(sum(widths))
    if len(joined):
        weights = Ridge(alpha=settings.popularity_ridge).fit(joined, np.log1p(popularity[popularity > 0])).coef_
    parts = np.split(weights.astype(np.float32), np.cumsum(widths)[:-1])
    return dict(zip(content, parts, strict=True))
