"""Decides which items are cold at a given time; everything that treats cold items differently asks here."""

from __future__ import annotations

import numpy as np

from m3csr_tf.config import ColdConfig
from m3csr_tf.util.moments import EARLIEST

HOUR, DAY = 3600, 86_400
"""Seconds."""


def ages(published: np.ndarray, now: np.ndarray | float) -> np.ndarray:
    """Returns how old items are, float64 [n], in seconds; NaN where the publish time is unknown.

    A publish time before 1980 is unknown: logs write 0 for one that they lack. A publish time after `now`, which clocks
    that disagree cause, makes an item 0 seconds old.

    Args:
      published: publish times in Unix seconds, [n], NaN where unknown.
      now: the time at which the ages are taken, in Unix seconds, one for all or one for each.
    """
    times = np.asarray(published, np.float64)
    return np.where(times >= EARLIEST, np.maximum(now - times, 0.0), np.nan)


def is_cold(rule: ColdConfig, age: np.ndarray, views: np.ndarray, without_click: np.ndarray) -> np.ndarray:
    """Returns which items are cold, bool [n].

    An item of unknown age is not cold where the age decides: nothing says that it is new.

    Args:
      rule: the largest age and number of views; with neither, the items without a click are cold.
      age: seconds, float64 [n], NaN where unknown (`ages`).
      views: number of views, int64 [n].
      without_click: bool [n], which items have no click.
    """
    if not rule.is_set:
        return np.asarray(without_click, bool).copy()
    cold = np.ones(np.shape(without_click), bool)
    if rule.max_age_hours is not None:
        cold &= np.asarray(age) <= rule.max_age_hours * HOUR  # Comparisons with NaN are false.
    if rule.max_views is not None:
        cold &= np.asarray(views) < rule.max_views
    return cold
