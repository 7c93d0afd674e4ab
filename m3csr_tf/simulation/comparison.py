"""Compares an arm with the control: differences, also in per cent, with intervals from the bootstrap.

If both arms have the same units (twins, and videos in any case), a resample takes a unit in both arms or in neither, so
that the interval is that of the paired difference. If traffic is split, the people of each arm are resampled
separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from m3csr_tf.simulation.measures import USERS, Measure

CONFIDENCE = 0.95
_AT_ONCE = 2_000_000
"""Largest number of bootstrap weights in memory: resamples times units."""


@dataclass(frozen=True)
class Difference:
    """The difference of a system from the control.

    Attributes:
      system, control: the figures of both.
      difference, low, high: system - control, and the ends of its 95% interval.
      percent, percent_low, percent_high: 100 (system / control - 1) and its interval. They are None where the control
        is 0; the interval is also None where the control is 0 in a resample.
    """

    system: float
    control: float
    difference: float
    low: float
    high: float
    percent: float | None
    percent_low: float | None
    percent_high: float | None

    def as_json(self) -> dict[str, Any]:
        """Returns the difference as a tree for JSON."""
        return asdict(self)


def compare(
    system: Mapping[str, Measure], control: Mapping[str, Measure], paired: bool, resamples: int, seed: int
) -> dict[str, Difference]:
    """Returns the differences of all measures, name -> difference.

    Args:
      system, control: the measures of two arms (`measures.measure`).
      paired: whether the users of both arms are twins.
      resamples: number of resamples of the bootstrap.
      seed: the seed of the bootstrap.
    """
    found = {}
    for position, (name, one) in enumerate(system.items()):
        other = control[name]
        random = np.random.default_rng([seed, position])
        if paired or one.over != USERS:
            first, second = _resampled([one, other], resamples, random)
        else:
            (first,), (second,) = (_resampled([each], resamples, random) for each in (one, other))
        found[name] = _difference(one.value, other.value, first, second)
    return found


def _resampled(measures: list[Measure], resamples: int, random: np.random.Generator) -> list[np.ndarray]:
    """Returns the values of measures of the same units in each resample, float64 [resamples] for each measure."""
    units = len(measures[0].numerator)
    if not units:
        return [np.zeros(resamples) for _ in measures]
    sums = np.stack([part for one in measures for part in (one.numerator, one.denominator)], axis=1)
    step = max(1, _AT_ONCE // units)
    blocks = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        weights = random.multinomial(units, np.full(units, 1 / units), count)
        blocks.append(weights @ sums)
    found = np.concatenate(blocks)
    with np.errstate(invalid="ignore"):
        return [
            np.nan_to_num(found[:, 2 * position] / found[:, 2 * position + 1], nan=0.0)
            for position in range(len(measures))
        ]


def _difference(system: float, control: float, first: np.ndarray, second: np.ndarray) -> Difference:
    low, high = _interval(first - second)
    percent = 100 * (system / control - 1) if control else None
    known = control != 0 and bool((second > 0).all())
    percent_interval = _interval(100 * (first / second - 1)) if known else (None, None)
    return Difference(system, control, system - control, low, high, percent, *percent_interval)


def _interval(values: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
