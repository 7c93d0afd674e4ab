"""How likely each training click is to be drawn as a positive, against the others: by its weight and by its age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import TrainingConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError

DAY = 86_400
_OLDEST = 900.0
"""Half-lives after which a click does not fade further, so that none has a chance of 0 (2^-900 is 1e-271). Where a
user was last seen long ago, her clicks are told apart all the same."""
_EARLIEST = 315_532_800
"""Unix seconds of 1980: smaller numbers are counters or years (`data.times`), whose differences are no days."""


@dataclass(frozen=True)
class ClickWeights:
    """The rule that gives a training click its weight in the draw of positives.

    Attributes:
      by_weight: whether the weights of the interactions count.
      half_life: seconds in which the chance of a click halves; None: age does not count.
      latest: Unix seconds of the latest training click; 0 where age does not count.
    """

    by_weight: bool
    half_life: float | None
    latest: float

    @classmethod
    def of(cls, prepared: Prepared, training: TrainingConfig) -> ClickWeights | None:
        """Returns the rule of a training, or None if all clicks are drawn alike.

        Raises:
          InputError: a half-life is asked for, and the interactions have no times.
        """
        by_weight = training.by_weight and prepared.weighted
        if training.half_life_days is None:
            return cls(True, None, 0.0) if by_weight else None
        return cls(by_weight, training.half_life_days * DAY, _latest(prepared, training.half_life_days))

    def of_clicks(self, frame: pd.DataFrame) -> np.ndarray:
        """Computes the weights of training clicks, float64 [clicks], all above 0.

        Args:
          frame: the clicks, with the columns weight and timestamp where they count.
        """
        weights = frame[columns.WEIGHT].to_numpy(np.float64) if self.by_weight else np.ones(len(frame))
        if self.half_life is None:
            return weights
        age = (self.latest - frame[columns.TIMESTAMP].to_numpy(np.float64)) / self.half_life
        return weights * np.exp2(-np.clip(age, 0, _OLDEST))


def in_words(prepared: Prepared, training: TrainingConfig) -> str | None:
    """Says what becomes of the weights and the age of clicks in a training; None where there is nothing to say."""
    said = []
    if prepared.weighted and training.by_weight:
        said.append("positives are drawn by weight (training.by_weight)")
    elif prepared.weighted:
        said.append("the interactions have weights, which this training does not use (training.by_weight=false)")
    if training.half_life_days is not None:
        said.append(f"positives are drawn by age, a half-life of {training.half_life_days:g} days")
    if training.walk_positives and (training.half_life_days is not None or (prepared.weighted and training.by_weight)):
        said.append(f"but {training.walk_positives:.0%} of them by walks, which know neither (training.walk_positives)")
    return "; ".join(said) or None


def _latest(prepared: Prepared, days: float) -> float:
    latest = -np.inf
    for block in prepared.blocks(columns.TRAIN):
        if columns.TIMESTAMP not in block:
            raise InputError(
                f"{prepared.folder}: training.half_life_days={days:g} needs the times of clicks, which the "
                "interactions lack; give them a column timestamp, or unset it"
            )
        latest = max(latest, float(block[columns.TIMESTAMP].max()))
    if latest < _EARLIEST:
        raise InputError(
            f"{prepared.folder}: training.half_life_days={days:g} needs times in seconds since 1970, but the latest "
            f"timestamp of a training click is {latest:g}, which is no time after 1980; convert the column, or unset it"
        )
    return latest
