"""What clicks say about content, in closed form: which directions people follow, and what they like at once.

Some ten thousand clicks do not teach a map of content by gradient steps, which follow the noise of each batch; least
squares over all of them at once do. The towers start from these (`training.starts`) and go on slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

_FOLLOWED = 0.5
"""Weight of what clicks say about directions of content, beside that of content as it is. On short videos 0.3 to 1 rank
new items alike, 6% above content as it is; on the synthetic world, whose content has more to tell, 30% above."""
_MAP_RIDGE = 1.0
"""Ridge of the map, in mean variances of the content; 0.5 to 2 rank alike."""
_ID_RIDGES = tuple(np.geomspace(0.01, 100, 9).tolist())
"""Ridges of a modality tried for the map from content to ids, in mean variances of its content."""
_ID_ROUNDS = 2
"""Turns over the modalities, whose ridges hang on each other."""
_APPEAL_RIDGE = 10.0
"""Ridge of the regression of popularity on content, for rows of length 1; 10 to 100 rank alike."""


def co_click_map(clicks: csr_matrix, content: np.ndarray, dim: int) -> np.ndarray:
    """P [width, dim] such that x P . y P says how readily people go from an item of content x to one of y.

    P P^T is, as far as `dim` columns go, I + _FOLLOWED A / mean |A_kk| without its negative directions. A is the
    symmetric part of the bilinear least-squares fit of x_i A y_j to the chances of a walk from item i over a viewer to
    item j, beyond what being often left or reached explains.

    Args:
      clicks: binary [users, items] training clicks.
      content: one modality's scaled content float32 [items, width]; a row of zeros is absent.
      dim: columns of the map, the strongest first; zeros beyond the content's width.
    """
    width = content.shape[1]
    wanted = np.eye(width)
    present = (content != 0).any(axis=1)
    shown = clicks.astype(np.float64) @ diags(present.astype(np.float64))
    by_item = np.asarray(shown.sum(axis=0)).ravel()
    known = content[by_item > 0].astype(np.float64)
    to_users = diags(1 / np.maximum(by_item, 1)) @ shown.T
    to_items = diags(1 / np.maximum(np.asarray(clicks.sum(axis=1), np.float64).ravel(), 1)) @ shown
    # Through the users, since a matrix of all pairs of items would not fit for a large catalogue.
    returning = np.asarray(to_users.multiply(to_items.T).sum(axis=1)).ravel()
    onward = to_users @ np.asarray(to_items.sum(axis=1)).ravel() - returning
    leaves = onward > 1e-9
    if leaves.any():
        vectors = content.astype(np.float64)
        scale = np.divide(leaves, onward, out=np.zeros(len(onward)), where=leaves)
        arrived = scale[:, None] * (to_users @ (to_items @ vectors) - returning[:, None] * vectors)
        reached = vectors.T @ (to_items.T @ (to_users.T @ scale) - returning * scale)
        spread = known.T @ known / len(known)
        inverse = np.linalg.inv(spread + _MAP_RIDGE * np.trace(spread) / width * np.eye(width))
        moved = vectors.T @ arrived - np.outer(leaves @ vectors, reached) / leaves.sum()
        followed = inverse @ moved @ inverse
        followed += followed.T
        wanted += _FOLLOWED * followed / max(np.abs(np.diag(followed)).mean(), 1e-12)
    strengths, directions = np.linalg.eigh(wanted)
    # Eigenvectors have no sign of their own: the largest entry is made positive, so that libraries agree.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(width)])
    strongest = np.argsort(strengths)[::-1][:dim]
    mapped = np.zeros((width, dim), np.float32)
    mapped[:, : len(strongest)] = directions[:, strongest] * np.sqrt(np.maximum(strengths[strongest], 0))
    return mapped


def content_appeal(clicks: csr_matrix, content: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each entry of the content says about an item's popularity, whoever looks: float32 [width] a modality.

    All that is known of a new item for a user without a history; the weights of a ridge regression of
    log(1 + clicks), each user's clicks counting 1 together, on the content of the clicked items.

    Args:
      clicks: binary [users, items] training clicks.
      content: modality -> scaled or mapped content float32 [items, width]; a row of zeros is absent.
    """
    popularity = np.asarray(normalize(clicks.astype(np.float64), norm="l1").sum(axis=0)).ravel()
    joined = np.concatenate(list(content.values()), axis=1)[popularity > 0]
    widths = [vectors.shape[1] for vectors in content.values()]
    weights = np.zeros(sum(widths))
    if len(joined):
        weights = Ridge(alpha=_APPEAL_RIDGE).fit(joined, np.log1p(popularity[popularity > 0])).coef_
    parts = np.split(weights.astype(np.float32), np.cumsum(widths)[:-1])
    return dict(zip(content, parts, strict=True))


class IdMaps(NamedTuple):
    """A linear map from content to ids: their sum over modalities of content @ kernel, and an intercept.

    Attributes:
      kernels: float32 [width, d], one a modality.
      intercept: float32 [d].
    """

    kernels: list[np.ndarray]
    intercept: np.ndarray


def content_id_maps(ids: np.ndarray, content: Mapping[str, np.ndarray], rows: np.ndarray) -> IdMaps:
    """The ridge regression of ids on content, with a ridge of its own for each modality.

    The ridges are those with the least leave-one-out error, which a linear smoother has in closed form (Allen 1974):
    residuals divided by one minus their leverage. So a modality that tells nothing of the ids is shrunk to nothing, and
    needs no choice by hand.

    Args:
      ids: where ids start, float32 [items, d].
      content: modality -> scaled content float32 [items, width]; a row of zeros is absent.
      rows: the items to fit, int [n], which have ids of their own.
    """
    targets = ids[rows].astype(np.float64)
    if not len(rows):
        dim = ids.shape[1]
        return IdMaps(
            [np.zeros((part.shape[1], dim), np.float32) for part in content.values()], np.zeros(dim, np.float32)
        )
    parts = [vectors[rows].astype(np.float64) for vectors in content.values()]
    means, centre = [part.mean(axis=0) for part in parts], targets.mean(axis=0)
    joined = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)], axis=1)
    of_part = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    gram, moments = joined.T @ joined, joined.T @ (targets - centre)
    size = np.array([max(np.diag(gram)[of_part == place].mean(), 1e-12) for place in range(len(parts))])

    def solved(ridges: np.ndarray) -> tuple[np.ndarray, float]:
        inverse = np.linalg.inv(gram + np.diag((ridges * size)[of_part]))
        weights = inverse @ moments
        leverage = np.einsum("nw,wv,nv->n", joined, inverse, joined, optimize=True) + 1 / len(rows)
        left_out = (targets - centre - joined @ weights) / np.maximum(1 - leverage, 1e-3)[:, None]
        return weights, float((left_out**2).sum())

    ridges = np.ones(len(parts))
    for _ in range(_ID_ROUNDS):
        for place in range(len(parts)):
            tried = np.tile(ridges, (len(_ID_RIDGES), 1))
            tried[:, place] = _ID_RIDGES
            ridges = tried[int(np.argmin([solved(some)[1] for some in tried]))]
    weights, _ = solved(ridges)
    kernels = np.split(weights, np.flatnonzero(np.diff(of_part)) + 1)
    intercept = centre - sum(mean @ kernel for mean, kernel in zip(means, kernels, strict=True))
    return IdMaps([kernel.astype(np.float32) for kernel in kernels], np.asarray(intercept, np.float32))
