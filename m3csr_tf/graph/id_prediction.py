"""Predicts the ids of new items from their content by kernel ridge regression (Saunders et al. 1998).

Gantner et al. 2010 and CB2CF (Barkan et al. 2019) also map content to the factors of new items. Here the kernel is
Gaussian and compares content by the variance that it has. A linear map of whitened content, in which all directions
count alike, finds fewer of a user's new films (docs/results.md). The kernel matrix is approximated at some of the
items, the landmarks (Nystroem's method, Williams and Seeger 2001), so that the item tower computes a prediction from a
fixed number of kernel values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import euclidean_distances

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.stacking import means
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.samples import sample
from m3csr_tf.util.threads import one_blas_thread

DEFAULTS = InitialConfig()
_ROUNDS = 2
"""Rounds of choosing one modality's ridge after another; the best ridge of each depends on those of the others."""
_FITTED_ITEMS = 10_000
"""Largest number of items that a prediction is fitted on; of more, a seeded sample."""
_MEASURED_ITEMS = 1_000
"""Largest number of items whose distances give the bandwidth of the kernel."""
_BLOCK = 8_192
"""Number of items that are predicted at once; their kernel values take 32 MiB."""
_SAME = 1e-6
"""A variance or squared distance below this is rounding; the vectors' squared lengths are about 1."""
_FEWEST_ITEMS = 10
"""Fewest items that must have a modality for it to count; fewer say nothing of what it predicts."""


class IdSettings(NamedTuple):
    """The settings of a prediction of ids that are chosen by leaving items out, one at a time.

    Attributes:
      sizes: float64 [modalities], the length of each modality's part of the vectors that the kernel compares.
      penalty: the ridge penalty.
    """

    sizes: np.ndarray
    penalty: float


class IdPredictor(NamedTuple):
    """A prediction of ids: sum_j exp(-|s - landmarks_j|^2) coefficients_j + intercept for an item with the vector s.

    Attributes:
      axis_scales: modality -> float32 [width], factors of the scaled content's dimensions.
      settings: what was chosen; s consists of a part for each modality, of the length that its sizes say (`compared`).
      landmarks: float32 [landmarks, sum of widths].
      coefficients: float32 [landmarks, d].
      intercept: float32 [d].
      mean: float32 [d], the mean of the ids that the prediction was fitted on.
    """

    axis_scales: Mapping[str, np.ndarray]
    settings: IdSettings
    landmarks: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray

    def predict(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Predicts ids from scaled content, modality -> float32 [items, width]; returns float32 [items, d]."""
        items = len(next(iter(content.values())))
        predicted = np.empty((items, self.coefficients.shape[1]), np.float32)
        for start in range(0, items, _BLOCK):
            block = slice(start, start + _BLOCK)
            some = {name: vectors[block] for name, vectors in content.items()}
            vectors = compared(some, self.axis_scales, self.settings.sizes)
            kernel = np.exp(-euclidean_distances(vectors, self.landmarks, squared=True))
            predicted[block] = kernel @ self.coefficients + self.intercept
        return predicted


def compared(content: Mapping[str, np.ndarray], axis_scales: Mapping[str, np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """Returns the vectors that the kernel compares, float32 [items, sum of widths].

    Each modality's content is multiplied by its axis scales and set to the length that `sizes` [modalities] says; that
    of an item without the modality stays zeros.
    """
    parts = []
    for size, (name, vectors) in zip(sizes, content.items(), strict=True):
        scaled = vectors * axis_scales[name]
        lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
        parts.append(np.float32(size) * np.divide(scaled, lengths, out=np.zeros_like(scaled), where=lengths > 0))
    return np.concatenate(parts, axis=1)


def score_gram(clicks: csr_matrix, histories: np.ndarray, power: float) -> np.ndarray:
    """Returns sum_u n_u^(2 power) h_u h_u^T over the users, float64 [d, d]: how much errors of ids change scores.

    Args:
      clicks: [users, items] training clicks; n_u are their numbers.
      histories: float32 [items, d]; h_u is their mean over a user's clicks.
      power: the setting training.history_power.
    """
    lengths = np.diff(clicks.indptr)
    interests = means(clicks, histories).astype(np.float64) * lengths[:, None] ** power
    return np.asarray(interests.T @ interests)


@one_blas_thread()  # On busy cores, BLAS threads wait for each other for seconds instead of milliseconds.
def fit_id_predictor(
    ids: np.ndarray,
    content: Mapping[str, np.ndarray],
    axis_scales: Mapping[str, np.ndarray],
    item_rows: np.ndarray,
    gram: np.ndarray | None,
    landmarks: int,
    chosen: IdSettings | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
    settings: InitialConfig = DEFAULTS,
) -> IdPredictor:
    """Fits the prediction of ids from content.

    The squared length of each modality's part is inverse to the ridge with which linear regressions from all modalities
    predict ids best, and to the variance of its content. So a modality that says nothing is left out by itself. The
    kernel's bandwidth is the median distance between items (Gretton et al. 2012). The penalty is the one with which the
    scores of items that are left out, one at a time, correlate best with the scores by their own ids. The least squared
    error does not decide, since a ranking does not depend on how long the predicted ids are.

    Args:
      ids: initial item ids float32 [items, d].
      content: modality -> scaled content float32 [items, width]; a row of zeros is absent.
      axis_scales: modality -> float32 [width], as `ContentScaler.spreads` returns them.
      item_rows: int [n], the items to fit on, which have ids of their own.
      gram: float64 [d, d] of `score_gram`, by which errors count; None where the settings are given.
      landmarks: number of landmarks; of fewer items, all are.
      chosen: settings that were chosen before; None chooses them.
      seed: seed of the samples of items and of landmarks.
      on_progress: progress callback, which gets the number of ridges that are chosen and of all to choose.
      settings: the section model.initial, of which id_ridges and id_penalties count.

    Returns:
      The prediction, which consists of zeros if there are no items to fit on.
    """
    dim, width = ids.shape[1], sum(part.shape[1] for part in content.values())
    if not len(item_rows):
        nothing = np.zeros(dim, np.float32)
        unused = IdSettings(np.ones(len(content)), 1.0)
        return IdPredictor(
            axis_scales, unused, np.zeros((1, width), np.float32), np.zeros((1, dim), np.float32), nothing, nothing
        )
    rows = sample(item_rows, _FITTED_ITEMS, seed)
    targets = ids[rows].astype(np.float64)
    some = {name: vectors[rows] for name, vectors in content.items()}
    if chosen is None:
        equal = compared(some, axis_scales, np.ones(len(content)))
        sizes = _modality_sizes(equal, targets, some, on_progress, settings)
        # The kernel is exp(-|s - z|^2 / (2 median)), and the factor goes into the lengths of the vectors.
        sizes = sizes / np.sqrt(2 * _median_distance(compared(some, axis_scales, sizes), seed))
    else:
        sizes = chosen.sizes
    vectors = compared(some, axis_scales, sizes)
    kernel = Nystroem(kernel="rbf", gamma=1.0, n_components=min(landmarks, len(rows)), random_state=seed)
    features = kernel.fit_transform(vectors.astype(np.float64))
    regression = _Regression.of(features, targets)
    if chosen is None:
        assert gram is not None
        penalty = regression.best_penalty(settings.id_penalties, gram)
    else:
        penalty = chosen.penalty
    weights = regression.weights(penalty)
    return IdPredictor(
        axis_scales=axis_scales,
        settings=IdSettings(sizes, penalty),
        landmarks=kernel.components_.astype(np.float32),
        coefficients=(kernel.normalization_.T @ weights).astype(np.float32),
        intercept=(regression.target_mean - regression.mean @ weights).astype(np.float32),
        mean=regression.target_mean.astype(np.float32),
    )


def _median_distance(vectors: np.ndarray, seed: int) -> float:
    """Returns the median squared distance between some of the vectors, or 1 if these are all the same."""
    some = vectors[sample(np.arange(len(vectors)), _MEASURED_ITEMS, seed)].astype(np.float64)
    apart = euclidean_distances(some, squared=True)[np.triu_indices(len(some), 1)]
    median = float(np.median(apart)) if len(apart) else 0.0
    return median if median > _SAME else 1.0


def _modality_sizes(
    vectors: np.ndarray,
    targets: np.ndarray,
    content: Mapping[str, np.ndarray],
    on_progress: ProgressCallback | None,
    settings: InitialConfig,
) -> np.ndarray:
    """Chooses the length of each modality's part by linear ridge regressions from all modalities together.

    Args:
      vectors: float32 [items, sum of widths], parts of length 1.
      targets: float64 [items, d], the ids.
      content: modality -> content, of which the widths count.
      on_progress: progress callback, which gets the number of ridges that are chosen and of all to choose.
      settings: the section model.initial, of which id_ridges counts.

    Returns:
      float64 [modalities], the largest of which is 1, or all are 0. That of a modality is 0 if hardly an item has it,
      or if it is the same for all. Multiplying a part by its length has the effect of dividing its ridge by the square
      of the length. The variance is that of the items that have the modality, because in a kernel a longer part would
      set them apart from all others.
    """
    widths = [part.shape[1] for part in content.values()]
    columns_of = np.repeat(np.arange(len(widths)), widths)
    within = np.array([_variance(part) for part in np.split(vectors, np.cumsum(widths)[:-1], axis=1)])
    varies = within > _SAME
    if len(widths) == 1:
        return varies.astype(np.float64)
    centred, ids = vectors - vectors.mean(axis=0, dtype=np.float64), targets - targets.mean(axis=0)
    gram, sides = centred.T @ centred, centred.T @ ids
    variances = np.maximum(np.bincount(columns_of, np.diag(gram)) / widths, 1e-12)

    def error(ridges: np.ndarray) -> float:
        """Computes the sum of squared errors of fits without each item, which have a closed form (Allen 1974)."""
        inverse = np.linalg.inv(gram + np.diag((ridges * variances)[columns_of]))
        leverage = np.einsum("nw,nw->n", centred @ inverse, centred) + 1 / len(centred)
        residuals = (ids - centred @ (inverse @ sides)) / np.maximum(1 - leverage, 1e-3)[:, None]
        return float((residuals**2).sum())

    ridges = np.ones(len(widths))
    for turn in range(_ROUNDS):
        for position in range(len(widths)):
            tried = np.tile(ridges, (len(settings.id_ridges), 1))
            tried[:, position] = settings.id_ridges
            ridges = tried[int(np.argmin([error(each) for each in tried]))]
            if on_progress is not None:
                on_progress(turn * len(widths) + position + 1, _ROUNDS * len(widths))
    sizes = np.where(varies, 1 / np.sqrt(ridges * np.maximum(within, _SAME)), 0)
    return np.asarray(sizes / max(float(sizes.max()), _SAME))


def _variance(vectors: np.ndarray) -> float:
    """Returns the mean variance of the dimensions over the items that have content; 0 if hardly an item has some."""
    present = vectors[(vectors != 0).any(axis=1)]
    return float(present.var(axis=0, dtype=np.float64).mean()) if len(present) >= _FEWEST_ITEMS else 0.0


@dataclass(frozen=True)
class _Regression:
    """A ridge regression of ids on the features of Nystroem's method, in their principal axes.

    Attributes:
      mean, target_mean: float64 [features] and [d], the means that are subtracted.
      axes: float64 [features, features].
      variances: float64 [features], the sums of squares along the axes.
      rotated: float64 [items, features], the centred features along the axes.
      sides: float64 [features, d], rotated^T targets.
      targets: float64 [items, d], centred.
    """

    mean: np.ndarray
    target_mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rotated: np.ndarray
    sides: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray) -> _Regression:
        mean, target_mean = features.mean(axis=0), targets.mean(axis=0)
        centred, ids = features - mean, targets - target_mean
        variances, axes = np.linalg.eigh(centred.T @ centred)
        rotated = centred @ axes
        return cls(mean, target_mean, axes, np.maximum(variances, 0), rotated, rotated.T @ ids, ids)

    def weights(self, penalty: float) -> np.ndarray:
        """Returns the weights of the features, float64 [features, d]."""
        return np.asarray(self.axes @ (self.sides / (self.variances + penalty)[:, None]))

    def best_penalty(self, penalties: tuple[float, ...], gram: np.ndarray) -> float:
        """Returns the penalty with which scores of left-out items correlate best with those by their own ids.

        A left-out item is predicted by all others, and its prediction is compared with the mean id of these.
        """
        values, axes = np.linalg.eigh(gram)
        to_scores = axes * np.sqrt(np.maximum(values, 0))
        items = len(self.rotated)
        wanted = self.targets @ to_scores
        correlations = []
        for penalty in penalties:
            shrunk = 1 / (self.variances + penalty)
            leverage = self.rotated**2 @ shrunk + 1 / items
            residuals = self.targets - self.rotated @ (self.sides * shrunk[:, None])
            left_out = self.targets - residuals / np.maximum(1 - leverage, 1e-3)[:, None]
            left_out += self.targets / max(items - 1, 1)  # The mean of the others lies so far from that of all.
            scores = left_out @ to_scores
            correlations.append((scores * wanted).sum() / max(float(np.linalg.norm(scores)), 1e-300))
        return penalties[int(np.argmax(correlations))]
