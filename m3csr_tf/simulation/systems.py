"""The interface between an arm and its recommender, and the two recommenders that need no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.simulation.population import Population


@dataclass(frozen=True)
class Moment:
    """A round, as the recommender of an arm sees it.

    Attributes:
      time: Unix seconds.
      users: int [visitors] ascending.
      histories: the items that each visitor has clicked, oldest first.
      seen_by, seen: pairs of a position in `users` and an item that must not be shown to that user, int64 [pairs].
      available: bool [items], the videos that have been published.
      views: views of each video, int64 [items].
      length: the length of the lists.
    """

    time: int
    users: np.ndarray
    histories: list[list[int]]
    seen_by: np.ndarray
    seen: np.ndarray
    available: np.ndarray
    views: np.ndarray
    length: int


class ArmRecommender(Protocol):
    """A recommender; the docstrings here are its specification."""

    def lists(self, moment: Moment) -> np.ndarray:
        """Takes in what is new, and makes the lists of the visitors.

        Returns:
          Items int [visitors, length], best first, which are available and not seen; -1 where none is left.
        """
        ...


class Popularity:
    """A recommender of the most viewed videos that the user has not seen, with ties in random order."""

    def __init__(self, population: Population) -> None:
        self._seed = population.simulation.seed

    def lists(self, moment: Moment) -> np.ndarray:
        """See `ArmRecommender`."""
        views = moment.views[:, None].astype(np.float32)
        return _ranked(np.ones((len(moment.users), 1), np.float32), views, moment, self._seed)


class Truth:
    """A recommender of the videos of the largest true utility, which no other can surpass in a single round."""

    def __init__(self, population: Population) -> None:
        self._population = population

    def lists(self, moment: Moment) -> np.ndarray:
        """See `ArmRecommender`."""
        people = self._population
        ones = np.ones((len(moment.users), 1), np.float32)
        users = np.concatenate([people.user_side[moment.users], ones], axis=1)
        worth = people.worth(moment.time)[:, None].astype(np.float32)
        return _ranked(users, np.concatenate([people.item_side, worth], axis=1), moment, people.simulation.seed)


def _ranked(users: np.ndarray, items: np.ndarray, moment: Moment, seed: int) -> np.ndarray:
    seen = sparse.csr_array(
        (np.ones(len(moment.seen), np.float32), (moment.seen_by, moment.seen)), shape=(len(users), len(items))
    )
    # The order of ties differs between rounds; otherwise the same video would always come first.
    ties = (seed + moment.time) % 2**32
    return top_n(users, items, moment.length, seen=seen, candidates=moment.available, seed=ties)
