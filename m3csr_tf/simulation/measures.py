"""The measures of Table 4 of the paper, from the impressions of an arm.

- Click, Like, Follow: number for each person, in all rounds.
- WatchTime: seconds for each person, in all rounds.
- Climbing_k: number of videos published in the loop whose exposures (lists that show them) reach k within two days.
- Coverage: share of the recommended places that hold a cold video, i.e. one that was published at most 24 hours ago and
  had fewer views than a threshold when the list was made.

The hours and thresholds are settings of the simulation; those named here are their defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m3csr_tf.config import ColdConfig
from m3csr_tf.data.cold import is_cold as is_cold_at
from m3csr_tf.simulation.feedback import CLICK, FOLLOW, LIKE, VIEWS, WATCH
from m3csr_tf.simulation.population import ITEM, TIME, USER, Population

USERS, VIDEOS = "users", "videos"
_OF_USERS = {"Click": CLICK, "Like": LIKE, "Follow": FOLLOW, "WatchTime": WATCH}
COVERAGE = "Coverage"
_HOUR = 3600


@dataclass(frozen=True)
class Measure:
    """A figure that is a ratio of two sums over independent units.

    Attributes:
      over: the kind of the units, USERS or VIDEOS. Twins, and a video in two arms, have the same position in both arms.
      numerator, denominator: float64 [units].
    """

    over: str
    numerator: np.ndarray
    denominator: np.ndarray

    @property
    def value(self) -> float:
        """The figure; 0 where the denominator is 0."""
        below = self.denominator.sum()
        return float(self.numerator.sum() / below) if below else 0.0


def measure(population: Population, members: np.ndarray, shown: pd.DataFrame) -> dict[str, Measure]:
    """Returns the measures of an arm, in the order of Table 4.

    Args:
      population: the videos, and the settings of what counts as cold and as a climb.
      members: the people of the arm, int [n] ascending.
      shown: the columns of `feedback.impressions`, and TIME.
    """
    settings = population.simulation
    position = np.searchsorted(members, shown[USER].to_numpy())
    ones = np.ones(len(members))

    def of_members(values: np.ndarray) -> np.ndarray:
        return np.bincount(position, values.astype(np.float64), len(members))

    found = {name: Measure(USERS, of_members(shown[column].to_numpy()), ones) for name, column in _OF_USERS.items()}
    fresh = population.published >= population.begins
    counts = exposures_within(shown, population.published, settings.climbing_hours)[fresh]
    for k in settings.climbing:
        # The measure is the number of videos, written as the mean over the videos times their number.
        found[f"Climbing_{k}"] = Measure(VIDEOS, (counts >= k) * float(len(counts)), np.ones(len(counts)))
    cold = is_cold(shown, population.published, settings.cold_hours, settings.cold_views)
    found[COVERAGE] = Measure(USERS, of_members(cold), of_members(np.ones(len(shown))))
    return found


def exposures_within(shown: pd.DataFrame, published: np.ndarray, hours: float) -> np.ndarray:
    """Counts how often each video is shown in its first hours, int64 [items].

    Args:
      shown: ITEM and TIME (Unix seconds), with a row for each exposure.
      published: publication times in Unix seconds [items].
      hours: length of the time from publication, including its last moment.
    """
    items = shown[ITEM].to_numpy()
    early = shown[TIME].to_numpy() - published[items] <= hours * _HOUR
    return np.bincount(items[early], minlength=len(published))


def is_cold(shown: pd.DataFrame, published: np.ndarray, hours: float, views: int) -> np.ndarray:
    """Returns whether the video of each exposure is cold at that time, bool [rows].

    Args:
      shown: ITEM, TIME (Unix seconds) and VIEWS.
      published: publication times in Unix seconds [items].
      hours: the largest age of a cold video.
      views: a cold video has fewer views than these.
    """
    age = shown[TIME].to_numpy() - published[shown[ITEM].to_numpy()]
    nothing = np.zeros(len(shown), bool)
    return is_cold_at(ColdConfig(max_age_hours=hours, max_views=views), age, shown[VIEWS].to_numpy(), nothing)
