"""Do the learned modality intensities mean anything: their correlation with a synthetic world's true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def intensity_correlations(
    learned: np.ndarray, true: np.ndarray, modalities: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    """Pearson correlation over users of learned and true intensity, of each modality, beside a control.

    The control pairs every user with another one's truth (a seeded shuffle): what chance gives at this many users.

    Args:
      learned: float32 [users, modalities] (equation 6).
      true: float32 [users, modalities], the same users.
      modalities: their names.
      seed: of the shuffle.

    Returns:
      modality -> {"correlation", "shuffled"}; 0 where a side does not vary.
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
