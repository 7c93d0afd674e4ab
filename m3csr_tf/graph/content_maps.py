"""What clicks say about content, in closed form: which directions people follow, and what they like at once.

Some ten thousand clicks do not teach a map of content by gradient steps, which follow the noise of each batch; least
squares over all of them at once do. The towers start from these (`models.m3csr.initial_weights`) and go on slowly.
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
from m3csr_tf.util.progress import Tell
from m3csr_tf.util.samples import sample

DEFAULTS = InitialConfig()
_ID_ROUNDS = 2
"""Turns over the modalities, whose ridges hang on each other."""
_RIDGES_CHOSEN_ON = 5_000
"""Items, at most, whose leave-one-out errors choose the ridges; all of them are fitted."""


def co_click_map(clicks: csr_matrix, content: np.ndarray, dim: int, settings: InitialConfig = DEFAULTS) -> np.ndarray:
    """P [width, dim] such that x P . y P says how readily people go from an item of content x to one of y.

    P P^T is, as far as `dim` columns go, I + co_clicks A / mean |A_kk| without its negative directions. A is the
    symmetric part of the bilinear least-squares fit of x_i A y_j to the chances of a walk from item i over a viewer to
    item j, beyond what being often left or reached explains.

    Args:
      clicks: binary [users, items] training clicks.
      content: one modality's scaled content float32 [items, width]; a row of zeros is absent.
      dim: columns of the map, the strongest first; zeros beyond the content's width.
      settings: its co_clicks and co_click_ridge.
    """
    width = content.shape[1]
    wanted = np.eye(width)
    rows = np.flatnonzero((content != 0).any(axis=1) & (np.asarray(clicks.sum(axis=0)).ravel() > 0))
    shown, vectors = clicks.tocsc()[:, rows].tocsr().astype(np.float64), content[rows].astype(np.float64)
    by_item = np.asarray(shown.sum(axis=0)).ravel()
    to_users = diags(1 / np.maximum(by_item, 1)) @ shown.T
    to_items = diags(1 / np.maximum(np.asarray(clicks.sum(axis=1), np.float64).ravel(), 1)) @ shown
    # Through the users, since a matrix of all pairs of items would not fit for a large catalogue.
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
    # Eigenvectors have no sign of their own: the largest entry is made positive, so that libraries agree.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(width)])
    strongest = np.argsort(strengths)[::-1][:dim]
    mapped = np.zeros((width, dim), np.float32)
    mapped[:, : len(strongest)] = directions[:, strongest] * np.sqrt(np.maximum(strengths[strongest], 0))
    return mapped


def content_appeal(
    clicks: csr_matrix, content: Mapping[str, np.ndarray], settings: InitialConfig = DEFAULTS
) -> dict[str, np.ndarray]:
    """What each entry of the content says about an item's popularity, whoever looks: float32 [width] a modality.

    All that is known of a new item for a user without a history; the weights of a ridge regression of
    log(1 + clicks), each user's clicks counting 1 together, on the content of the clicked items.

    Args:
      clicks: binary [users, items] training clicks.
      content: modality -> scaled or mapped content float32 [items, width]; a row of zeros is absent.
      settings: its popularity_ridge.
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
    """A linear map from content to ids: their sum over modalities of content @ kernel, and an intercept.

    Attributes:
      kernels: float32 [width, d], one a modality.
      intercept: float32 [d].
      mean: of the ids that it was fitted on, float32 [d]: what it predicts of mean content.
      ridges: float64 [modalities], those that it was fitted with, in mean variances of each modality's content.
    """

    kernels: list[np.ndarray]
    intercept: np.ndarray
    mean: np.ndarray
    ridges: np.ndarray


def content_id_maps(
    ids: np.ndarray,
    content: Mapping[str, np.ndarray],
    rows: np.ndarray,
    ridges: np.ndarray | None = None,
    seed: int = 0,
    told: Tell | None = None,
    settings: InitialConfig = DEFAULTS,
) -> IdMaps:
    """The ridge regression of ids on content, with a ridge of its own for each modality.

    The ridges are those with the least leave-one-out error, which a linear smoother has in closed form (Allen 1974):
    residuals divided by one minus their leverage. So a modality that tells nothing of the ids is shrunk to nothing, and
    needs no choice by hand.

    Args:
      ids: where ids start, float32 [items, d].
      content: modality -> scaled content float32 [items, width]; a row of zeros is absent.
      rows: the items to fit, int [n], which have ids of their own.
      ridges: float [modalities], instead of a choice.
      seed: of the draw of the items that choose them.
      told: told how many of the choices are made, and of how many.
      settings: its id_ridges, among which to choose.
    """
    if not len(rows):
        dim = ids.shape[1]
        kernels = [np.zeros((part.shape[1], dim), np.float32) for part in content.values()]
        return IdMaps(kernels, np.zeros(dim, np.float32), np.zeros(dim, np.float32), np.ones(len(content)))
    if ridges is None:
        some = _Regression.of(ids, content, sample(rows, _RIDGES_CHOSEN_ON, seed))
        ridges = np.ones(len(content))
        for turn in range(_ID_ROUNDS):
            for place in range(len(content)):
                tried = np.tile(ridges, (len(settings.id_ridges), 1))
                tried[:, place] = settings.id_ridges
                ridges = tried[int(np.argmin([some.left_out_error(each) for each in tried]))]
                if told is not None:
                    told(turn * len(content) + place + 1, _ID_ROUNDS * len(content))
    return _Regression.of(ids, content, rows).maps(ridges)


@dataclass(frozen=True)
class _Regression:
    """A ridge regression whose columns belong to modalities, centred.

    Attributes:
      columns: float64 [n, widths together].
      targets: float64 [n, d].
      means: of the columns and of the targets before they were centred.
      of_part: int [widths together], the place of the column's modality.
      gram: columns' products.
    """

    columns: np.ndarray
    targets: np.ndarray
    means: tuple[np.ndarray, np.ndarray]
    of_part: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, content: Mapping[str, np.ndarray], rows: np.ndarray) -> _Regression:
        joined = np.concatenate([vectors[rows].astype(np.float64) for vectors in content.values()], axis=1)
        targets = ids[rows].astype(np.float64)
        means = joined.mean(axis=0), targets.mean(axis=0)
        joined -= means[0]
        of_part = np.repeat(np.arange(len(content)), [vectors.shape[1] for vectors in content.values()])
        return cls(joined, targets - means[1], means, of_part, joined.T @ joined)

    def left_out_error(self, ridges: np.ndarray) -> float:
        """The sum of squared errors of the rows, each left out of the regression that predicts it."""
        inverse = self._inverse(ridges)
        weights = inverse @ (self.columns.T @ self.targets)
        leverage = np.einsum("nw,nw->n", self.columns @ inverse, self.columns) + 1 / len(self.columns)
        residuals = self.targets - self.columns @ weights
        return float(((residuals / np.maximum(1 - leverage, 1e-3)[:, None]) ** 2).sum())

    def maps(self, ridges: np.ndarray) -> IdMaps:
        weights = self._inverse(ridges) @ (self.columns.T @ self.targets)
        intercept = self.means[1] - self.means[0] @ weights
        kernels = np.split(weights.astype(np.float32), np.flatnonzero(np.diff(self.of_part)) + 1)
        return IdMaps(kernels, intercept.astype(np.float32), self.means[1].astype(np.float32), ridges)

    def _inverse(self, ridges: np.ndarray) -> np.ndarray:
        sizes = np.bincount(self.of_part, np.diag(self.gram)) / np.bincount(self.of_part)
        return np.linalg.inv(self.gram + np.diag((ridges * np.maximum(sizes, 1e-12))[self.of_part]))
