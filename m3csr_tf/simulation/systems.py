"""What an arm asks of its recommender, and the two recommenders that need no model."""

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
      histories: what each of them has clicked, oldest first, items.
      seen_by, seen: pairs of a position in `users` and an item that is not to be shown to her, int64 [pairs].
      available: bool [items], videos that have been published.
      views: int64 [items].
      length: of the lists.
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
    """A recommender; the docstrings here are the specification."""

    def lists(self, moment: Moment) -> np.ndarray:
        """Takes in what is new, and makes the visitors' lists.

        Returns:
          Items int [visitors, length], best first, available and not seen; -1 where none is left.
        """
        ...


class Popularity:
    """The most viewed videos, the same for everybody but for what each has seen; equal ones in a random order."""

    def __init__(self, population: Population) -> None:
        self._seed = population.simulation.seed

    def lists(self, moment: Moment) -> np.ndarray:
        """See `ArmRecommender`."""
        views = moment.views[:, None].astype(np.float32)
        return _ranked(np.ones((len(moment.users), 1), np.float32), views, moment, self._seed)


class Truth:
    """The videos of the largest true utility: what no recommender can surpass by its choice for one round."""

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
    # Of another order of ties in each round, or who comes first would be the first always.
    ties = (seed + moment.time) % 2**32
    return top_n(users, items, moment.length, seen=seen, candidates=moment.available, seed=ties)
