"""Estimates the initial weights of interest intensity (equations 5 and 6) from held-out clicks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.stacking import HeldOutClicks, means


def fitted_intensity(
    held_out: HeldOutClicks,
    encoded: Mapping[str, np.ndarray],
    shared: bool,
    ridge: float = InitialConfig().intensity_ridge,
) -> np.ndarray:
    """Fits weights w of modal interests by which intensities softmax_m(w_m . h_u^m) (equation 6, tau 1) predict clicks.

    The probability that candidate i is clicked is softmax_i(g sum_m |M| softmax_m(w_m . h_u^m) s_m). Here h_u^m is the
    mean of the history in modality m, s_m is the similarity of history and candidate in modality m, and the scale g is
    fitted too. The fewer clicks there are, the more weight the penalty of w has. The clicks must be held out: on clicks
    from which the maps of content were estimated, a wide modality would seem more informative than it is, and for some
    users more than for others.

    Args:
      held_out: held-out clicks, each among candidates of like popularity. If there are none, the weights are zeros.
      encoded: modality -> h_i^m float32 [items, h]; zeros for the padding row and for items that lack the modality,
        which are left out of means.
      shared: whether all modalities share one w, as equation 5 prints it.
      ridge: model.initial.intensity_ridge, the penalty of w for interests of length 1, against the sum over all clicks.

    Returns:
      The weights w, float32 [1, h] if they are shared, otherwise [modalities, h].
    """
    rows, width = (1 if shared else len(encoded)), next(iter(encoded.values())).shape[1]
    if not len(held_out):
        return np.zeros((rows, width), np.float32)
    interests = np.stack([means(held_out.histories, vectors) for vectors in encoded.values()])
    length, size = _rms(np.linalg.norm(interests, axis=2)), _rms(held_out.similarities)
    if not length or not size:
        return np.zeros((rows, width), np.float32)
    fit = IntensityFit(interests / length, held_out.similarities / size, rows)
    gain_alone = fit.fit(None, np.zeros(rows * width + 1))
    weights = fit.fit(ridge / len(held_out), gain_alone)[:-1].reshape(rows, width)
    return (weights / length).astype(np.float32)


class IntensityFit:
    """The likelihood of held-out clicks as a function of w and g.

    The parameters are a vector [rows * h + 1]: the rows of w one after the other, then log g.

    Args:
      interests: h_u^m float32 [modalities, n, h].
      similarities: h_u^m . h_i^m float32 [modalities, n, candidates]; the clicked candidate is the first.
      rows: number of rows of w: 1, or the number of modalities.
    """

    def __init__(self, interests: np.ndarray, similarities: np.ndarray, rows: int) -> None:
        self._interests = interests
        self._similarities = similarities * len(interests)
        self._rows = rows

    def __len__(self) -> int:
        return self._interests.shape[1]

    def fit(self, ridge: float | None, start: np.ndarray) -> np.ndarray:
        """Minimises the loss.

        Args:
          ridge: w is penalised by `ridge` / 2 |w|^2; with None, w keeps its initial value, and g alone is fitted.
          start: initial parameters [rows * h + 1].

        Returns:
          The parameters [rows * h + 1].
        """
        penalised = np.append(np.full(len(start) - 1, ridge or 0.0), 0)
        free = np.append(np.full(len(start) - 1, ridge is not None), True)

        def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self.loss_and_gradient(parameters)
            pull = penalised * parameters
            return loss + pull @ parameters / 2, np.where(free, gradient + pull, 0)

        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-6})
        return np.asarray(found.x)

    def losses(self, parameters: np.ndarray) -> np.ndarray:
        """Computes the negative log-likelihood of each click, [n]."""
        return _losses(self._chances(parameters)[2])

    def loss_and_gradient(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Computes the mean of `losses`, and its gradient."""
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
        """Computes intensities [modalities, n], and scores and probabilities of the candidates [n, c] each."""
        modalities, _, width = self._interests.shape
        # w is converted to float32 as the interests are, since products with a float64 would all be float64.
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
    """Computes the softmax over the first axis."""
    raised = np.exp(factors - factors.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0))
