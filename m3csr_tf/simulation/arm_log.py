"""The log of one arm: what its people have been shown and have clicked, round by round, on disk and in memory.

A round is a parquet file of impressions, which is written under a temporary name and renamed, so that a file always
holds a whole round. Everything else (histories, views, seen videos) follows from the files, the world and the settings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf.errors import RunError
from m3csr_tf.simulation.feedback import CLICK, RANK
from m3csr_tf.simulation.population import ITEM, TIME, USER, Population
from m3csr_tf.util.files import replacing
from m3csr_tf.util.stored import reading

_SECONDS_A_PLACE = 30
"""Seconds between the clicks of one list, which give them an order."""


def round_file(folder: Path, number: int) -> Path:
    """Returns the file of a round's impressions; rounds count from 0."""
    return folder / "rounds" / f"round_{number:05d}.parquet"


def write_round(folder: Path, number: int, shown: pd.DataFrame) -> None:
    """Writes the impressions of a round."""
    with replacing(round_file(folder, number)) as temporary:
        shown.to_parquet(temporary, index=False)


def read_round(folder: Path, number: int) -> pd.DataFrame:
    """Reads what `write_round` wrote.

    Args:
      folder: the folder of the arm, <simulation>/arms/<system>.
      number: the number of the round.

    Raises:
      RunError: the file is missing or broken.
    """
    path = round_file(folder, number)
    # A release that has taken in later rounds cannot go back, so this round alone cannot be repeated.
    remedy = f"delete {folder.parents[1]} and run the simulation again, or put the file back"
    with reading(path, remedy, RunError):
        return pd.read_parquet(path)


class ArmLog:
    """What is known about the people of an arm.

    Args:
      population: the people and the videos.
      members: int [n] ascending, the people of this arm; their clicks before the loop are their history.

    Attributes:
      members: the argument of that name.
      views: clicks on each video in the loop, int64 [items]; those before it are in `Population.past`.
      histories: user -> the videos that she has clicked, oldest first.
    """

    def __init__(self, population: Population, members: np.ndarray) -> None:
        self.members = members
        self.views = np.zeros(len(population.item_ids), np.int64)
        self._population = population
        is_member = np.zeros(len(population.user_ids), bool)
        is_member[members] = True
        self._is_member = is_member
        past = population.past[is_member[population.past[USER]]]
        self.histories: dict[int, list[int]] = {int(user): [] for user in members}
        self._note(past)
        self._seen = np.unique(self._keys(past[USER], past[ITEM]))
        self._clicks: list[pd.DataFrame] = []

    def absorb(self, number: int, shown: pd.DataFrame) -> None:
        """Adds the results of a round's lists, and the organic clicks until the next round."""
        clicked = shown[shown[CLICK].to_numpy()]
        time = self._population.time(number) + _SECONDS_A_PLACE * clicked[RANK].to_numpy(np.int64)
        from_lists = clicked[[USER, ITEM]].assign(**{TIME: time})
        self._seen = np.union1d(self._seen, self._keys(shown[USER], shown[ITEM]))
        organic = self._population.organic(number)
        organic = organic[self._is_member[organic[USER]]]
        keys = self._keys(organic[USER], organic[ITEM])
        organic = organic[~np.isin(keys, self._seen)]  # She has already watched it or passed it over.
        self._seen = np.union1d(self._seen, keys)
        new = pd.concat([from_lists, organic], ignore_index=True).sort_values([TIME, USER, ITEM], ignore_index=True)
        self._clicks.append(new)
        self._note(new)
        self.views += np.bincount(new[ITEM], minlength=len(self.views))

    def replay(self, folder: Path, rounds: int) -> None:
        """Adds the first rounds from their files.

        Raises:
          RunError: a file is missing or broken.
        """
        for number in range(len(self._clicks), rounds):
            self.absorb(number, read_round(folder, number))

    def clicks(self) -> pd.DataFrame:
        """Returns all clicks in the loop, with the columns USER, ITEM and TIME."""
        nothing = self._population.past[:0]
        return pd.concat([nothing, *self._clicks], ignore_index=True)

    def seen(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what some users, int [n] ascending, have been shown or have clicked.

        Returns:
          Positions in `users`, and items, int64 [pairs] each.
        """
        owners, items = np.divmod(self._seen, len(self.views))
        positions = np.minimum(np.searchsorted(users, owners), len(users) - 1)
        kept = users[positions] == owners
        return positions[kept], items[kept]

    def _note(self, clicks: pd.DataFrame) -> None:
        for user, item in zip(clicks[USER].tolist(), clicks[ITEM].tolist(), strict=True):
            self.histories[user].append(item)

    def _keys(self, users: pd.Series, items: pd.Series) -> np.ndarray:
        return users.to_numpy(np.int64) * len(self.views) + items.to_numpy(np.int64)
