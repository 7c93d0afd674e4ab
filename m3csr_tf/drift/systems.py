"""What is compared: a version of a release, or a run as its release would be, by what both can do with users' ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from m3csr_tf.export.requests import flatten
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.releases.release import Release

NOT_HELD = -1


@dataclass(frozen=True)
class System:
    """A recommender that ranks its items for any users.

    Attributes:
      name: what tables call it.
      ids: of its items, object array of str [items].
      item_vectors: gives the vectors of items by their positions in `ids`, float32 [n, D].
      user_vectors: gives those of users, a frame of user_id and history (lists of item ids, oldest first).
      bins: gives the popularity bins of items by their ids, int [n]; 0 holds the cold ones.
      intensities: gives the intensities of users, float32 [users, modalities]; None where the model has none.
      modalities: names of the columns of the intensities.
    """

    name: str
    ids: np.ndarray
    item_vectors: Callable[[np.ndarray], np.ndarray]
    user_vectors: Callable[[pd.DataFrame], np.ndarray]
    bins: Callable[[np.ndarray], np.ndarray]
    intensities: Callable[[pd.DataFrame], np.ndarray] | None = None
    modalities: Sequence[str] = ()


def of_release(release: Release) -> System:
    """A version of a release, with all that came and went since it was published."""
    return System(
        name=f"version {release.version}",
        ids=release.index.ids,
        item_vectors=release.index.vectors_at,
        user_vectors=release.user_vectors,
        bins=release.items.bins,
        intensities=release.user_intensities if release.explains else None,
        modalities=tuple(release.modalities),
    )


@dataclass(frozen=True)
class ComparedUsers:
    """Users, who are the same for both systems.

    Attributes:
      frame: user_id (str), history and exclusions (lists of item ids); what is excluded is in no list.
      clicked: lists of the item ids that each went on to click [users]; None where nobody knows.
      click_counts: training clicks by item id, int64; None where nobody knows.
    """

    frame: pd.DataFrame
    clicked: pd.Series | None = None
    click_counts: pd.Series | None = None


@dataclass(frozen=True)
class Lists:
    """The lists of a system.

    Attributes:
      vectors: of the users, float32 [users, D].
      positions: in the system's `ids`, int32 [users, n], best first; NO_ITEM where a list has ended.
    """

    vectors: np.ndarray
    positions: np.ndarray


def lists_of(
    system: System,
    users: pd.DataFrame,
    exclusions: pd.Series,
    n: int,
    seed: int = 0,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Lists:
    """The top `n` of exact search over all items of a system, without what is excluded for each user.

    An index that is searched approximately would add its own misses, which `index.recall` bounds, to the one side.
    """
    vectors = system.user_vectors(users)
    entries, owners = flatten(exclusions)
    held = pd.Index(system.ids).get_indexer(entries)
    known = held != NOT_HELD
    shape = (len(users), len(system.ids))
    seen = sparse.csr_array((np.ones(int(known.sum()), bool), (owners[known], held[known])), shape=shape)
    everything = system.item_vectors(np.arange(len(system.ids)))
    positions = top_n(vectors, everything, n, seen=seen, seed=seed, on_progress=on_progress)
    return Lists(vectors, positions)


def scores(system: System, vectors: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Scores of items for users, float32 [users, n]; NaN where `positions` [users, n] is NO_ITEM.

    Args:
      system: holds the items.
      vectors: of the users, float32 [users, D].
      positions: in the system's `ids`.
    """
    result = np.full(positions.shape, np.nan, np.float32)
    for start in range(0, len(positions), _SCORED_AT_ONCE):
        some = slice(start, start + _SCORED_AT_ONCE)
        block = positions[some]
        items = system.item_vectors(np.maximum(block, 0).ravel()).reshape(*block.shape, -1)
        found = np.einsum("ud,und->un", vectors[some], items)
        result[some] = np.where(block == NO_ITEM, np.nan, found)
    return result


_SCORED_AT_ONCE = 256
"""Users whose listed items' vectors are in memory at once."""
