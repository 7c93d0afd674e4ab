"""Explains the differences of scores between items by each part's share of the variance over the catalogue.

A score is a dot product, and so is each of its parts. So covariances over items are quadratic forms in the covariance
of the item vectors, [dim, dim], and no score has to be computed, however many users and items there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

CONTENT, CLUSTER = "content", "cluster"

_BLOCK = 8192  # Number of users at once: their vectors in float64 take some tens of megabytes.


def half(modality: str, of: str) -> str:
    """Returns the name of a half of a modality's part, e.g. "visual: cluster"."""
    return f"{modality}: {of}"


def halved(parts: Mapping[str, slice], modalities: Sequence[str]) -> dict[str, slice]:
    """Splits each modality's part into mapped content and cluster embedding, the halves of equation 2.

    Args:
      parts: part -> its slice of a vector (`models.m3csr.layout.parts`).
      modalities: the parts that are concatenations of the two.
    """
    finer = {}
    for name, part_slice in parts.items():
        if name in modalities:
            middle = (part_slice.start + part_slice.stop) // 2
            finer[half(name, CONTENT)] = slice(part_slice.start, middle)
            finer[half(name, CLUSTER)] = slice(middle, part_slice.stop)
        else:
            finer[name] = part_slice
    return finer


def shares(user_vectors: np.ndarray, item_vectors: np.ndarray, parts: Mapping[str, slice]) -> dict[str, float]:
    """Returns each part's share of the variance of a user's scores over the items, averaged over users.

    share_p = cov(score_p, score) / var(score), which sums to 1 over the parts of a score (the decomposition by
    covariance of Shorrocks 1982). A share is negative where a part works against the others. Users with equal scores
    for all items have no variance and are left out.

    Args:
      user_vectors: float32 [users, dim].
      item_vectors: float32 [items, dim], the items to compare.
      parts: part -> its slice of both vectors; together they cover `dim` once.

    Returns:
      part -> share; empty if no user's scores vary.

    Raises:
      ValueError: shapes do not fit, or the parts do not cover the vectors once.
    """
    _check(user_vectors, item_vectors)
    covered = np.zeros(user_vectors.shape[1], int)
    for part_slice in parts.values():
        covered[part_slice] += 1
    if not (covered == 1).all():
        raise ValueError(f"the parts must cover the {len(covered)} entries of a vector once, got {dict(parts)}")
    spread = _covariance(item_vectors, item_vectors)
    sums, counted = np.zeros(len(parts)), 0
    for users in _blocks(user_vectors):
        products = users * (users @ spread)
        variance = products.sum(axis=1)
        varies = variance > _noise(users, spread)
        by_part = np.stack([products[varies, part_slice].sum(axis=1) for part_slice in parts.values()], axis=1)
        sums += (by_part / variance[varies, None]).sum(axis=0)
        counted += int(np.count_nonzero(varies))
    return {name: float(total / counted) for name, total in zip(parts, sums, strict=True)} if counted else {}


def lost(user_vectors: np.ndarray, item_vectors: np.ndarray, other_users: np.ndarray, other_items: np.ndarray) -> float:
    """Returns the share of the variance of a user's scores that another model's scores do not explain, over users.

    It is the mean of 1 - corr(score, other score)^2 over the items, which is 0 where one is a rescaling of the other. A
    user with equal scores by the other model has lost everything; one with equal scores by this model is left out.

    Args:
      user_vectors, item_vectors: float32 [users, dim] and [items, dim].
      other_users, other_items: the vectors of the same users and items by the other model.

    Returns:
      The share; 0 if no user's scores vary, because there is nothing to lose.

    Raises:
      ValueError: shapes do not fit.
    """
    _check(user_vectors, item_vectors)
    _check(other_users, other_items)
    if len(user_vectors) != len(other_users) or len(item_vectors) != len(other_items):
        raise ValueError(
            f"both models need the same users and items, got {len(user_vectors)} and {len(other_users)} users, "
            f"{len(item_vectors)} and {len(other_items)} items"
        )
    own = _covariance(item_vectors, item_vectors)
    others = _covariance(other_items, other_items)
    between = _covariance(item_vectors, other_items)
    total, counted = 0.0, 0
    for users, opposite in zip(_blocks(user_vectors), _blocks(other_users), strict=True):
        variance, other = _form(users, own, users), _form(opposite, others, opposite)
        varies, kept = variance > _noise(users, own), other > _noise(opposite, others)
        explained = np.zeros(len(users))
        both = varies & kept
        explained[both] = _form(users, between, opposite)[both] ** 2 / (variance[both] * other[both])
        total += (1 - np.minimum(explained[varies], 1)).sum()
        counted += int(np.count_nonzero(varies))
    return float(total / counted) if counted else 0.0


def reweighed(
    vectors: np.ndarray, weights: Mapping[str, np.ndarray], means: Mapping[str, float], parts: Mapping[str, slice]
) -> np.ndarray:
    """Replaces the weights by which some parts of vectors were multiplied with one weight for all vectors.

    A weight of exactly 0 has left nothing of its part, which is then not changed.

    Args:
      vectors: float32 [lines, dim].
      weights: part -> the weights by which it was multiplied, float32 [lines].
      means: part -> the weight that replaces them.
      parts: part -> its slice of a vector.

    Returns:
      float64 [lines, dim].
    """
    changed = np.array(vectors, np.float64)
    for name, carried in weights.items():
        carried = carried.astype(np.float64)
        factor = np.divide(means[name], carried, out=np.ones_like(carried), where=carried != 0)
        changed[:, parts[name]] *= factor[:, None]
    return changed


def _blocks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), _BLOCK):
        yield vectors[start : start + _BLOCK].astype(np.float64)


def _covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the covariance over the lines, float64 [width of one, width of other]."""
    left, right = (vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64) for vectors in (one, other))
    return left.T @ right / len(one)


def _form(users: np.ndarray, matrix: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", users @ matrix, others)


def _noise(users: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Returns the largest value that rounding alone may give to a variance of 0, [users]."""
    return 1e-12 * np.einsum("ij,ij->i", users, users) * np.trace(spread)


def _check(user_vectors: np.ndarray, item_vectors: np.ndarray) -> None:
    if user_vectors.ndim != 2 or item_vectors.ndim != 2 or user_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(
            f"user_vectors {user_vectors.shape} and item_vectors {item_vectors.shape} must be matrices of one width"
        )
    if not len(item_vectors):
        raise ValueError("item_vectors holds no item; a variance over the catalogue needs some")
