"""Where id embeddings start: singular vectors of the training clicks (Sarwar et al. 2000), or of what they imply.

`item_factors` decomposes the click matrix with each user's line divided by the root of her clicks, so that a heavy user
counts no more than a light one, and each item's by a lesser root of its own. The products of the lines that come out
are, at low rank, the probability of walking from one item over a user to the other, times a part of the first one's
clicks. Popular items have long lines, and items that share users start close together. `affinity_factors` decomposes
where the affinities of the items send each user: more is guessed where users have a few clicks each, and more blurred
where they have dozens (docs/journal.md).
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
from m3csr_tf.graph.item_graph import Affinities
from m3csr_tf.util.progress import Tell

_RIDGE = 1e-3

_MANY_CLICKS, _TURNS_OF_LOW_RANK, _TURNS = 2_000_000, 7, 4
"""Power iterations of the randomised decomposition, up to so many clicks scikit-learn's, and 4 beyond: on ten
million clicks of 200,000 items they take 20 s of the processor instead of 28, and rank validation alike
(docs/scale.md)."""


def item_factors(
    clicks: csr_matrix,
    dim: int,
    seed: int,
    told: Tell | None = None,
    popularity: float = InitialConfig().svd_popularity,
) -> np.ndarray:
    """Start of the id embeddings: right singular vectors of D_u^-1/2 R D_i^-a, times their values.

    Args:
      clicks: binary user x item matrix of training clicks.
      dim: width d; directions beyond the rank of the matrix are zero.
      seed: of the randomised decomposition.
      told: told how many products of the decomposition are made, and of how many.
      popularity: a, by which popular items are held back: on four synthetic worlds 1/4 ranks validation -1 to 5% better
        than none, and 1 to 4% better than a half (docs/journal.md).

    Returns:
      float32 [items, dim], singular directions times their values, scaled to a root-mean-square norm of 1 over the
      clicked items; zeros for items without a click.
    """
    of_users, of_items = (np.maximum(np.asarray(clicks.sum(axis=axis)).ravel(), 1) for axis in (1, 0))
    weighed = diags(of_users**-0.5) @ clicks @ diags(of_items**-popularity)
    rank = min(dim, *clicks.shape)
    turns = _TURNS_OF_LOW_RANK if clicks.nnz <= _MANY_CLICKS and rank < 0.1 * min(clicks.shape) else _TURNS
    values, directions = singular_vectors(weighed.tocsr(), rank, turns, seed, told)
    factors = np.zeros((clicks.shape[1], dim), np.float32)
    factors[:, : len(values)] = (directions * values[:, None]).T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    factors[~clicked] = 0
    return factors / max(np.sqrt((factors[clicked] ** 2).sum(axis=1).mean()), 1e-12)


class AffinityFactors(NamedTuple):
    """Affinities at low rank: a user's score of item j is the mean over her history i of items[i] @ values @ items[j].

    Attributes:
      items: float32 [items, dim], of root-mean-square norm 1 over the clicked items; zeros for items without a click.
      values: float32 [dim, dim], what turns a clicked item into what it says about the next.
      size: of items by implicit ALS, what they have been divided by.
    """

    items: np.ndarray
    values: np.ndarray
    size: float = 1.0


def affinity_factors(
    affinities: Affinities,
    clicks: csr_matrix,
    dim: int,
    seed: int,
    floor: float = InitialConfig().walk_floor,
) -> AffinityFactors:
    """Start of the id embeddings and of the attention's W_V, so that the towers rank like the affinities at once.

    What is decomposed are the logarithms log(1 + a / floor) of the chances a, averaged over the history of each user:
    what a softmax over scores should learn, weighted by how often it is asked for. Scores of the two sides, (L V) V^T
    with L the items' logarithms and V the right singular vectors, need two embeddings an item, and towers that share
    one have a matrix between them instead: the least-squares fit of L V by V, each item counted as often as it is in a
    history.

    Args:
      affinities: of the items.
      clicks: binary [users, items] training clicks, whose lines are the histories.
      dim: width d; directions beyond the rank of the matrix are zero.
      seed: of the decomposition's first vector.
    """
    by_popularity = np.log1p(affinities.popular * affinities.popularity.astype(np.float64) / floor)
    beyond = affinities.items.tocsr().astype(np.float64)
    beyond.data = (1 - affinities.popular) * beyond.data / floor
    beyond.data = np.log1p(beyond.data / (1 + np.expm1(by_popularity)[beyond.indices]))
    lines = normalize(clicks[np.diff(clicks.indptr) > 0].astype(np.float64), norm="l1")
    ones = np.ones(lines.shape[0])
    operator = LinearOperator(
        (lines.shape[0], clicks.shape[1]),
        matvec=lambda vector: lines @ (beyond @ vector.ravel()) + ones * (by_popularity @ vector.ravel()),
        rmatvec=lambda vector: beyond.T @ (lines.T @ vector.ravel()) + by_popularity * vector.sum(),
        dtype=np.float64,
    )
    rank = max(0, min(dim, min(operator.shape) - 1))
    start = np.random.default_rng(seed).standard_normal(min(operator.shape))
    values, directions = (
        np.zeros(0),
        np.zeros((0, clicks.shape[1])),
    )
    if rank > 0:  # One user or item alone has no direction that svds could find.
        _, values, directions = svds(operator, k=rank, v0=start)
        order = np.argsort(values)[::-1]
        values, directions = values[order], directions[order]
    said = beyond @ directions.T + by_popularity @ directions.T
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    # Roots of the singular values share them out between the two sides.
    items = np.zeros((clicks.shape[1], dim))
    items[:, :rank] = directions.T * np.sqrt(values)
    items[~clicked] = 0
    scale = max(np.sqrt((items[clicked] ** 2).sum(axis=1).mean()), 1e-12)
    items /= scale
    wanted = np.zeros_like(items)
    wanted[:, :rank] = said * scale / np.sqrt(np.maximum(values, 1e-12))
    often = np.asarray(lines.sum(axis=0)).ravel()[:, None]
    gram = items.T @ (often * items)
    gram += max(_RIDGE * np.trace(gram) / dim, 1e-12) * np.eye(dim)
    return AffinityFactors(
        items.astype(np.float32), np.linalg.solve(gram, items.T @ (often * wanted)).astype(np.float32)
    )


def ials_factors(
    clicks: csr_matrix,
    dim: int,
    setting: tuple[float, float],
    config: IalsConfig,
    seed: int,
    told: Tell | None = None,
) -> AffinityFactors:
    """Start of the id embeddings and of the attention's W_V from implicit ALS (`graph.ials`), with item factors Y.

    iALS places a user by her own least squares over Y. A tower that pools a history linearly gives what those squares
    are without her own confidences, (Y'Y + ridge I)^-1 times the sum of her items' factors; it ranks a little better
    than they do, where users have dozens of clicks (docs/results.md).

    Args:
      clicks: binary [users, items] training clicks.
      dim: width d.
      setting: alpha, the confidence that a click adds, and penalty lambda.
      config: sweeps, and the ridge of user vectors.
      seed: of the items' first vectors.
      told: told how many turns are done, and of how many.
    """
    alpha, penalty = setting
    found = factorise(
        clicks, factors=dim, alpha=alpha, penalty=penalty, sweeps=config.sweeps, seed=seed, told=told
    ).items
    clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
    scale = max(np.sqrt((found[clicked] ** 2).sum(axis=1).mean()), 1e-12) if clicked.any() else 1.0
    ridge = max(config.fold_in * penalty, 1e-12)
    values = np.linalg.inv(found.T @ found + ridge * np.eye(dim)) * scale**2
    return AffinityFactors((found / scale).astype(np.float32), values.astype(np.float32), float(scale))
