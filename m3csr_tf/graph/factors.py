"""Initial id embeddings from low-rank factorisations of the training clicks.

There are three:

- `item_factors` takes the singular vectors (Sarwar et al. 2000) of the click matrix, in which each user's row is
  divided by the root of the number of her clicks, so that heavy users count no more than light ones, and each item's
  column by a smaller power of the number of its clicks. At low rank, the dot product of two item vectors approximates
  the probability of a random walk from one item over a user to the other, times powers of the two items' clicks.
  Popular items have long vectors, and items with common users are close together.
- `item_graph_factors` decomposes the distribution over next items that the item graph gives each user. It predicts more
  where users have a few clicks each, and blurs more where they have dozens (docs/journal.md).
- `ials_factors` takes the item factors of implicit ALS.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.preprocessing import normalize

from m3csr_tf.config import IalsConfig, InitialConfig
from m3csr_tf.graph.decomposition import singular_vectors
from m3csr_tf.graph.ials import factorise
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.util.progress import ProgressCallback

_RIDGE = 1e-3
"""Ridge of the least-squares fit of W_V, in units of the mean diagonal entry of its Gram matrix."""

_MANY_CLICKS, _TURNS_OF_LOW_RANK, _TURNS = 2_000_000, 7, 4
"""Numbers of power iterations of the randomised decomposition. Up to _MANY_CLICKS clicks they are scikit-learn's: 7 at
a low rank, else 4. With more clicks it is always 4, which on ten million clicks of 200,000 items takes 20 s of
processor time instead of 28, and ranks equally well on validation (docs/scale.md)."""


def item_factors(
    clicks: csr_matrix,
    dim: int,
    seed: int,
    on_progress: ProgressCallback | None = None,
    popularity: float = InitialConfig().svd_popularity,
) -> np.ndarray:
    """Computes initial item ids as right singular vectors of D_u^-1/2 R D_i^-a, times their singular values.

    R is the click matrix; D_u and D_i hold the clicks of users and of items, or the sums of their weights.

    Args:
      clicks: [users, items] training clicks, of 1s or of weights above 0.
      dim: width d; dimensions beyond the rank of the matrix are zero.
      seed: seed of the randomised decomposition.
      on_progress: progress callback, which gets the number of matrix products that are made and the number of all of
        them.
      popularity: the exponent a, by which popular items are down-weighted. On four synthetic worlds, validation with
        a = 1/4 is -1 to 5% above that of a = 0, and 1 to 4% above that of a = 1/2 (docs/journal.md).

    Returns:
      float32 [items, dim], scaled to a root-mean-square norm of 1 over the clicked items; zeros for items without a
      click.
    """
    sums = (np.asarray(clicks.sum(axis=axis)).ravel() for axis in (1, 0))
    clicks_by_user, clicks_by_item = (np.where(of_clicks > 0, of_clicks, 1) for of_clicks in sums)
    weighed = diags(clicks_by_user**-0.5) @ clicks @ diags(clicks_by_item**-popularity)
    rank = min(dim, *clicks.shape)
    turns = _TURNS_OF_LOW_RANK if clicks.nnz <= _MANY_CLICKS and rank < 0.1 * min(clicks.shape) else _TURNS
    values, directions = singular_vectors(weighed.tocsr(), rank, turns, seed, on_progress)
    factors = np.zeros((clicks.shape[1], dim), np.float32)
    factors[:, : len(values)] = (directions * values[:, None]).T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    factors[~clicked] = 0
    return factors / max(np.sqrt((factors[clicked] ** 2).sum(axis=1).mean()), 1e-12)


class IdFactors(NamedTuple):
    """A low-rank model of next clicks, from which ids and the attention's W_V are initialised.

    A user's score of item j is the mean of items[i] @ values @ items[j] over the items i of her history.

    Attributes:
      items: float32 [items, dim], of root-mean-square norm 1 over the clicked items; zeros for items without a click.
      values: float32 [dim, dim], the map from the vector of a clicked item to a user's interest.
      size: the number by which the item factors of implicit ALS were divided; 1 for other factors.
    """

    items: np.ndarray
    values: np.ndarray
    size: float = 1.0


def item_graph_factors(
    item_graph: ItemGraph,
    clicks: csr_matrix,
    dim: int,
    seed: int,
    floor: float = InitialConfig().walk_floor,
) -> IdFactors:
    """Computes initial ids and W_V with which the towers rank like the item graph from the first step.

    The decomposed matrix holds the logarithms log(1 + a / floor) of the graph's probabilities a, averaged over the
    history of each user. These are the scores that a softmax should learn, weighted by how often they are needed. With
    L the logarithms of all items and V the right singular vectors, the scores (L V) V^T need two embeddings of each
    item, one in a history and one as a candidate. The towers share one embedding, and have the matrix W_V between
    history and candidate instead. W_V is the least-squares fit of L V by V, in which each item is weighted by how often
    it is in a history.

    Args:
      item_graph: the item graph.
      clicks: binary [users, items] training clicks, whose rows are the histories.
      dim: width d; dimensions beyond the rank of the matrix are zero.
      seed: seed of the initial vector of the decomposition.
      floor: probabilities of a next click below this count for little.
    """
    by_popularity = np.log1p(item_graph.popularity_share * item_graph.popularity.astype(np.float64) / floor)
    beyond = item_graph.items.tocsr().astype(np.float64)
    beyond.data = (1 - item_graph.popularity_share) * beyond.data / floor
    beyond.data = np.log1p(beyond.data / (1 + np.expm1(by_popularity)[beyond.indices]))
    profiles = normalize(clicks[np.diff(clicks.indptr) > 0].astype(np.float64), norm="l1")
    ones = np.ones(profiles.shape[0])
    operator = LinearOperator(
        (profiles.shape[0], clicks.shape[1]),
        matvec=lambda vector: profiles @ (beyond @ vector.ravel()) + ones * (by_popularity @ vector.ravel()),
        rmatvec=lambda vector: beyond.T @ (profiles.T @ vector.ravel()) + by_popularity * vector.sum(),
        dtype=np.float64,
    )
    rank = max(0, min(dim, min(operator.shape) - 1))
    start = np.random.default_rng(seed).standard_normal(min(operator.shape))
    values, directions = (
        np.zeros(0),
        np.zeros((0, clicks.shape[1])),
    )
    if rank > 0:  # svds cannot decompose the matrix of a single user or item.
        _, values, directions = svds(operator, k=rank, v0=start)
        order = np.argsort(values)[::-1]
        values, directions = values[order], directions[order]
    projected = beyond @ directions.T + by_popularity @ directions.T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    # The singular values are split evenly: item vectors and their targets in the fit of W_V get the roots.
    items = np.zeros((clicks.shape[1], dim))
    items[:, :rank] = directions.T * np.sqrt(values)
    items[~clicked] = 0
    scale = max(np.sqrt((items[clicked] ** 2).sum(axis=1).mean()), 1e-12)
    items /= scale
    wanted = np.zeros_like(items)
    wanted[:, :rank] = projected * scale / np.sqrt(np.maximum(values, 1e-12))
    often = np.asarray(profiles.sum(axis=0)).ravel()[:, None]
    gram = items.T @ (often * items)
    gram += max(_RIDGE * np.trace(gram) / dim, 1e-12) * np.eye(dim)
    return IdFactors(items.astype(np.float32), np.linalg.solve(gram, items.T @ (often * wanted)).astype(np.float32))


def ials_factors(
    clicks: csr_matrix,
    dim: int,
    setting: tuple[float, float],
    config: IalsConfig,
    seed: int,
    on_progress: ProgressCallback | None = None,
) -> IdFactors:
    """Computes initial ids and W_V from implicit ALS (`graph.ials`), whose item factors are called Y.

    Implicit ALS computes a user's vector by least squares over Y with confidences of her own. A tower that pools a
    history linearly can represent the solution without these confidences, (Y'Y + ridge I)^-1 times the sum of the
    factors of her items. Where users have dozens of clicks it ranks a little better than ALS (docs/results.md).

    Args:
      clicks: [users, items] training clicks, of 1s or of weights above 0.
      dim: width d.
      setting: alpha, the confidence that a click adds, and the penalty lambda.
      config: number of sweeps, and the ridge of user vectors.
      seed: seed of the random initial item vectors.
      on_progress: progress callback, which gets the number of sweeps that are done and the number of all sweeps.
    """
    alpha, penalty = setting
    found = factorise(
        clicks, factors=dim, alpha=alpha, penalty=penalty, sweeps=config.sweeps, seed=seed, on_progress=on_progress
    ).items
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    scale = max(np.sqrt((found[clicked] ** 2).sum(axis=1).mean()), 1e-12) if clicked.any() else 1.0
    ridge = max(config.fold_in * penalty, 1e-12)
    values = np.linalg.inv(found.T @ found + ridge * np.eye(dim)) * scale**2
    return IdFactors((found / scale).astype(np.float32), values.astype(np.float32), float(scale))
