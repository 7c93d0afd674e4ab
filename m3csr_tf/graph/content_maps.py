"""Linear maps of content, estimated from clicks in closed form.

There are three: a map into a space in which items that the same users click are similar, the popularity that content
predicts, and a map from content to item ids. Gradient steps, which follow the noise of each batch, do not learn such
maps from some ten thousand clicks; least squares over all clicks at once do. The towers are initialised with these maps
(`models.m3csr.initial_weights`), and training changes them slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from m3csr_tf.config import InitialConfig
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.samples import sample

DEFAULTS = InitialConfig()
_ID_ROUNDS = 2
"""Rounds of choosing one modality's ridge after another; the best ridge of each depends on those of the others."""
_RIDGES_CHOSEN_ON = 5_000
"""Largest number of items whose leave-one-out errors choose the ridges. The map is then fitted on all items."""


def co_click_map(clicks: csr_matrix, content: np.ndarray, dim: int, settings: InitialConfig = DEFAULTS) -> np.ndarray:
    """Estimates a map P of content such that x P . y P is large if users who click content x also click content y.

    P P^T approximates I + co_clicks A / mean |A_kk| without its negative eigenvalues, at rank `dim`. A is the symmetric
    part of the bilinear least-squares fit of x_i A y_j to the probabilities of a random walk from item i over one of
    its users to item j, beyond what the walk's frequencies of leaving i and of reaching j explain.

    Args:
      clicks: binary [users, items] training clicks.
      content: scaled content of one modality, float32 [items, width]; a row of zeros is absent.
      dim: number of columns of P.
      settings: the section model.initial, of which co_clicks and co_click_ridge count.

    Returns:
      P, float32 [width, dim]. Its columns are in descending order of eigenvalue; those beyond the content's width are
      zeros.
    """
    width = content.shape[1]
    wanted = np.eye(width)
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
    if leaves.any():
        scale = np.divide(leaves, onward, out=np.zeros(len(onward)), where=leaves)
        arrived = scale[:, None] * (to_users @ (to_items @ vectors) - returning[:, None] * vectors)
        reached = vectors.T @ (to_items.T @ (to_users.T @ scale) - returning * scale)
        spread = vectors.T @ vectors / len(vectors)
        inverse = np.linalg.inv(spread + settings.co_click_ridge * np.trace(spread) / width * np.eye(width))
        moved = vectors.T @ arrived - np.outer(leaves @ vectors, reached) / leaves.sum()
        followed = inverse @ moved @ inverse
        followed += followed.T
        wanted += settings.co_clicks * followed / max(np.abs(np.diag(followed)).mean(), 1e-12)
    strengths, directions = np.linalg.eigh(wanted)
    # The sign of an eigenvector is arbitrary. Its largest entry is made positive, so that all libraries give the same.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(width)])
    strongest = np.argsort(strengths)[::-1][:dim]
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


class IdMaps(NamedTuple):
    """A linear map from content to item ids: the sum over modalities of content @ kernel, plus an intercept.

    Attributes:
      kernels: float32 [width, d] for each modality.
      intercept: float32 [d].
      mean: float32 [d], the mean of the ids that the map was fitted on, which it predicts for mean content.
      ridges: float64 [modalities], the ridges of the fit, in units of the mean variance of each modality's content.
    """

    kernels: list[np.ndarray]
    intercept: np.ndarray
    mean: np.ndarray
    ridges: np.ndarray


def content_id_maps(
    ids: np.ndarray,
    content: Mapping[str, np.ndarray],
    item_rows: np.ndarray,
    ridges: np.ndarray | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
    settings: InitialConfig = DEFAULTS,
) -> IdMaps:
    """Fits the ridge regression of item ids on content, with a ridge of its own for each modality.

    The ridges minimise the leave-one-out error, which a linear smoother has in closed form (Allen 1974): residuals
    divided by one minus their leverage. A modality that does not predict the ids is therefore shrunk to nothing, and
    nobody has to leave it out by hand.

    Args:
      ids: initial item ids float32 [items, d].
      content: modality -> scaled content float32 [items, width]; a row of zeros is absent.
      item_rows: int [n], the items to fit on, which have ids of their own.
      ridges: float [modalities], fixed ridges; None lets the leave-one-out error choose them.
      seed: seed of the sample of items on which ridges are chosen.
      on_progress: progress callback, which gets the number of ridges that are chosen and of all to choose.
      settings: the section model.initial; ridges are chosen among its id_ridges.

    Returns:
      The map, which consists of zeros if there are no items to fit on.
    """
    if not len(item_rows):
        dim = ids.shape[1]
        kernels = [np.zeros((part.shape[1], dim), np.float32) for part in content.values()]
        return IdMaps(kernels, np.zeros(dim, np.float32), np.zeros(dim, np.float32), np.ones(len(content)))
    if ridges is None:
        some = _Regression.of(ids, content, sample(item_rows, _RIDGES_CHOSEN_ON, seed))
        ridges = np.ones(len(content))
        for turn in range(_ID_ROUNDS):
            for position in range(len(content)):
                tried = np.tile(ridges, (len(settings.id_ridges), 1))
                tried[:, position] = settings.id_ridges
                ridges = tried[int(np.argmin([some.left_out_error(each) for each in tried]))]
                if on_progress is not None:
                    on_progress(turn * len(content) + position + 1, _ID_ROUNDS * len(content))
    return _Regression.of(ids, content, item_rows).maps(ridges)


@dataclass(frozen=True)
class _Regression:
    """A ridge regression of item ids on centred columns of content, each of which belongs to a modality.

    Attributes:
      columns: float64 [n, sum of widths], centred.
      targets: float64 [n, d], centred.
      means: the means that were subtracted, float64 [sum of widths] of the columns and [d] of the targets.
      modality_index: int [sum of widths], the index of each column's modality.
      gram: float64 [sum of widths, sum of widths], columns^T columns.
    """

    columns: np.ndarray
    targets: np.ndarray
    means: tuple[np.ndarray, np.ndarray]
    modality_index: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, content: Mapping[str, np.ndarray], item_rows: np.ndarray) -> _Regression:
        joined = np.concatenate([vectors[item_rows].astype(np.float64) for vectors in content.values()], axis=1)
        targets = ids[item_rows].astype(np.float64)
        means = joined.mean(axis=0), targets.mean(axis=0)
        joined -= means[0]
        modality_index = np.repeat(np.arange(len(content)), [vectors.shape[1] for vectors in content.values()])
        return cls(joined, targets - means[1], means, modality_index, joined.T @ joined)

    def left_out_error(self, ridges: np.ndarray) -> float:
        """Computes the sum of the squared leave-one-out errors: each row is predicted by a fit without it."""
        inverse = self._inverse(ridges)
        weights = inverse @ (self.columns.T @ self.targets)
        leverage = np.einsum("nw,nw->n", self.columns @ inverse, self.columns) + 1 / len(self.columns)
        residuals = self.targets - self.columns @ weights
        return float(((residuals / np.maximum(1 - leverage, 1e-3)[:, None]) ** 2).sum())

    def maps(self, ridges: np.ndarray) -> IdMaps:
        """Returns the fit with the given ridges, float [modalities]."""
        weights = self._inverse(ridges) @ (self.columns.T @ self.targets)
        intercept = self.means[1] - self.means[0] @ weights
        kernels = np.split(weights.astype(np.float32), np.flatnonzero(np.diff(self.modality_index)) + 1)
        return IdMaps(kernels, intercept.astype(np.float32), self.means[1].astype(np.float32), ridges)

    def _inverse(self, ridges: np.ndarray) -> np.ndarray:
        sizes = np.bincount(self.modality_index, np.diag(self.gram)) / np.bincount(self.modality_index)
        return np.linalg.inv(self.gram + np.diag((ridges * np.maximum(sizes, 1e-12))[self.modality_index]))
