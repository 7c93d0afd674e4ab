"""Clicks as choices: what tells a click from other items by the user's other clicks, fitted as a logistic model.

Of a few items a user clicked the first; the weights that make that likely, given how alike the items and the rest of
her history are in each modality, say how much a modality tells, of everybody and of each user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from m3csr_tf.ids import PADDING_ROW

_CHOICES = 20_000
"""Clicks that the weights are estimated from."""
_OTHERS = 5
"""Other items beside each click."""
_LEAST_GAIN = 0.1
"""A modality that seems to tell nothing still starts with a little, since content that weighs 0 cannot be learned."""
_INTENSITY_RIDGE = 100.0
"""Penalty of w_int for interests of length 1, shared by all different clicks. 100 and 300 rank short videos as even
intensities do; on the synthetic world both bring them near the true ones, and 100 ranks 1% better."""


@dataclass(frozen=True)
class Choices:
    """Some clicks, each beside other items, which now and then the user clicked as well.

    Attributes:
      histories: int [n, slots], the user's other clicks, PADDING_ROW where there is none.
      candidates: int [n, 1 + others], the click first.
    """

    histories: np.ndarray
    candidates: np.ndarray

    @classmethod
    def draw(cls, clicks: csr_matrix, histories: np.ndarray, seed: int, popular: bool = False) -> Choices:
        """Draws clicks of users with others beside them, all users alike; none where there is nothing to choose.

        Args:
          clicks: binary [users, items] training clicks.
          histories: int32 [users, slots], padded with PADDING_ROW at the end.
          seed: of the draw.
          popular: whether an item comes among the others as often as among the clicks drawn, so that popularity tells
            nothing of a choice, instead of as often as every clicked item.
        """
        random = np.random.default_rng(seed)
        lengths = (histories != PADDING_ROW).sum(axis=1)
        users = np.flatnonzero(lengths > 1)
        clicked = np.flatnonzero(np.diff(clicks.tocsc().indptr))
        if not len(users) or len(clicked) <= 1:
            return cls(histories[:0], np.zeros((0, 1 + _OTHERS), np.int32))
        users = random.choice(users, _CHOICES)
        slot = (random.random(len(users)) * lengths[users]).astype(int)
        targets = histories[users, slot]
        rest = histories[users].copy()
        rest[np.arange(len(users)), slot] = PADDING_ROW
        others = random.choice(targets if popular else clicked, (len(users), _OTHERS))
        return cls(rest, np.concatenate([targets[:, None], others], axis=1))

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def lengths(self) -> np.ndarray:
        """Clicks of each history, at least 1, float [n]."""
        return np.maximum((self.histories != PADDING_ROW).sum(axis=1), 1).astype(np.float64)

    def distinct(self) -> tuple[np.ndarray, Choices]:
        """The rows of all items that occur, PADDING_ROW first, and the same choices among those, by their places."""
        rows = np.unique(np.concatenate([[PADDING_ROW], self.histories.ravel(), self.candidates.ravel()]))
        places = (np.searchsorted(rows, self.histories), np.searchsorted(rows, self.candidates))
        return rows, Choices(*places)

    def compared(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means of the histories' vectors, float32 [n, width], and their dot products with the candidates' [n, c].

        Args:
          vectors: float32 [items, width]; zeros for the padding row, and where an item has none: it is in no mean.
        """
        profiles = np.zeros((len(self), vectors.shape[1]), np.float32)
        for column in self.histories.T:
            profiles += vectors[column]
        profiles /= np.maximum((vectors != 0).any(axis=1)[self.histories].sum(axis=1), 1)[:, None]
        return profiles, np.einsum("uw,ucw->uc", profiles, vectors[self.candidates])


def content_gains(choices: Choices, content: Mapping[str, np.ndarray], power: float = 0.0) -> dict[str, float]:
    """How much a modality's similarity tells of a click: weights of a logistic regression, at least _LEAST_GAIN.

    Args:
      choices: clicks among others; without any, every modality gains 1.
      content: modality -> scaled or mapped content float32 [items, width]; a row of zeros is absent.
      power: a history of n clicks counts n^power times (training.history_power).
    """
    if not len(choices):
        return dict.fromkeys(content, 1.0)
    sharper = choices.lengths[:, None] ** power
    similarities = [(sharper * choices.compared(vectors)[1]).ravel() for vectors in content.values()]
    labels = np.zeros(choices.candidates.shape, bool)
    labels[:, 0] = True
    fitted = LogisticRegression().fit(np.stack(similarities, axis=1), labels.ravel())
    return {name: max(float(gain), _LEAST_GAIN) for name, gain in zip(content, fitted.coef_[0], strict=True)}


def score_gain(choices: Choices, histories: np.ndarray, candidates: np.ndarray, power: float) -> float:
    """By what to multiply scores so that a softmax over items is as sure as it is right, by a logistic regression.

    A score is n^power times the product of the mean of `histories` over the n clicks of a history with `candidates` of
    an item.

    Args:
      choices: clicks among others; without any, or where all scores are alike, 1.
      histories, candidates: vectors of the items float32 [items, width]; zeros for the padding row.
      power: training.history_power.
    """
    if not len(choices):
        return 1.0
    profiles, _ = choices.compared(histories)
    scores = choices.lengths[:, None] ** power * np.einsum("uw,ucw->uc", profiles, candidates[choices.candidates])
    spread = float(scores.std())
    if not spread:
        return 1.0
    labels = np.zeros(scores.shape, bool)
    labels[:, 0] = True
    fitted = LogisticRegression().fit(scores.ravel()[:, None] / spread, labels.ravel())
    return max(float(fitted.coef_[0, 0]), _LEAST_GAIN) / spread


def fitted_intensity(choices: Choices, encoded: Mapping[str, np.ndarray], shared: bool) -> np.ndarray:
    """Weights w of modal interests such that softmax_m(w_m . h_u^m) (equation 6, tau 1) foresees choices well.

    The chance of a candidate i is softmax_i(g sum_m |M| softmax_m(w_m . h_u^m) h_u^m . h_i^m), g fitted too, h_u^m the
    mean of the history; w is penalised (_INTENSITY_RIDGE), the more the fewer different clicks there are.

    Args:
      choices: clicks among others that are as popular; without any, zeros come back.
      encoded: modality -> h_i^m float32 [items, h], zeros for the padding row.
      shared: one w for all modalities, as equation 5 prints it, instead of one each.

    Returns:
      float32 [1 or modalities, h].
    """
    rows, width = (1 if shared else len(encoded)), next(iter(encoded.values())).shape[1]
    compared = [choices.compared(vectors) for vectors in encoded.values()]
    interests, similarities = (np.stack(parts) for parts in zip(*compared, strict=True))
    length, size = _rms(np.linalg.norm(interests, axis=2)), _rms(similarities)
    if not length or not size:
        return np.zeros((rows, width), np.float32)
    fit = IntensityFit(interests / length, similarities / size, rows)
    different = len(np.unique(np.concatenate([choices.histories, choices.candidates[:, :1]], axis=1), axis=0))
    gain_alone = fit.fit(None, np.zeros(rows * width + 1))
    weights = fit.fit(_INTENSITY_RIDGE / different, gain_alone)[:-1].reshape(rows, width)
    return (weights / length).astype(np.float32)


class IntensityFit:
    """The likelihood of choices by intensities; parameters are w, one row after the other, and log g, [rows * h + 1].

    Args:
      interests: h_u^m float32 [modalities, n, h].
      similarities: h_u^m . h_i^m float32 [modalities, n, candidates], the chosen first.
      rows: of w, one or one a modality.
    """

    def __init__(self, interests: np.ndarray, similarities: np.ndarray, rows: int) -> None:
        self._interests = interests
        self._similarities = similarities * len(interests)
        self._rows = rows

    def __len__(self) -> int:
        return self._interests.shape[1]

    def fit(self, ridge: float | None, start: np.ndarray) -> np.ndarray:
        """The parameters of the least loss, w penalised by `ridge` / 2 |w|^2; without one, w stays as it starts."""
        penalised = np.append(np.full(len(start) - 1, ridge or 0.0), 0)
        free = np.append(np.full(len(start) - 1, ridge is not None), True)

        def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self.loss_and_gradient(parameters)
            pull = penalised * parameters
            return loss + pull @ parameters / 2, np.where(free, gradient + pull, 0)

        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-6})
        return np.asarray(found.x)

    def losses(self, parameters: np.ndarray) -> np.ndarray:
        """-log of the chance of each click, [n]."""
        return _losses(self._chances(parameters)[2])

    def loss_and_gradient(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean of `losses`, and its slopes."""
        intensities, scores, chances = self._chances(parameters)
        slopes = chances.copy()
        slopes[:, 0] -= 1
        slopes /= len(self)
        gain = np.float32(np.exp(parameters[-1]))
        by_intensity = gain * np.einsum("nc,mnc->mn", slopes, self._similarities)
        by_factor = intensities * (by_intensity - (intensities * by_intensity).sum(axis=0))
        by_weights = np.stack([slope @ each for slope, each in zip(by_factor, self._interests, strict=True)])
        if self._rows == 1:
            by_weights = by_weights.sum(axis=0)
        by_gain = (slopes * scores).sum()
        return float(_losses(chances).mean()), np.append(by_weights.ravel(), by_gain).astype(np.float64)

    def _chances(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Intensities [modalities, n], scores and chances of the candidates [n, c] each."""
        modalities, _, width = self._interests.shape
        # In float32 as the interests are: a float64 would make float64 of all that it meets.
        weights = np.broadcast_to(parameters[:-1].reshape(self._rows, width).astype(np.float32), (modalities, width))
        intensities = _softmax(np.stack([each @ w for each, w in zip(self._interests, weights, strict=True)]))
        gain = np.float32(np.exp(parameters[-1]))
        scores = gain * np.einsum("mn,mnc->nc", intensities, self._similarities)
        return intensities, scores, _softmax(scores.T).T


def _losses(chances: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(chances[:, 0], np.finfo(np.float32).tiny))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) if values.size else 0.0


def _softmax(factors: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    raised = np.exp(factors - factors.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0))
