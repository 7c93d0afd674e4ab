"""Correlates the learned modality intensities of users with the true ones of a synthetic world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def intensity_correlations(
    learned: np.ndarray, true: np.ndarray, modalities: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    """Returns Pearson's correlation over users between learned and true intensity of each modality, with a control.

    The control pairs every user with another user's truth by a seeded shuffle, which shows what chance gives for this
    number of users.

    Args:
      learned: float32 [users, modalities] (equation 6).
      true: float32 [users, modalities], of the same users.
      modalities: names of the modalities.
      seed: seed of the shuffle.

    Returns:
      modality -> {"correlation", "shuffled"}; 0 where one of the two does not vary.
    """
    shuffled = true[np.random.default_rng(seed).permutation(len(true))]
    return {
        name: {
            "correlation": _correlation(learned[:, position], true[:, position]),
            "shuffled": _correlation(learned[:, position], shuffled[:, position]),
        }
        for position, name in enumerate(modalities)
    }


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
