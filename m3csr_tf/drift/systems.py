"""The systems that are compared: versions of a release, and runs as a release would hold them, behind one interface."""

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
"""What pandas' `Index.get_indexer` returns for an id that it lacks."""


@dataclass(frozen=True)
class System:
    """A recommender that ranks its items for any users.

    Attributes:
      name: name of the system in tables.
      ids: ids of its items, object array of str [items].
      item_vectors: returns the vectors of items by their positions in `ids` (int [n]), float32 [n, D].
      user_vectors: returns the vectors of users, float32 [users, D]; it takes a frame of user_id and history (lists of
        item ids, oldest first).
      bins: returns the popularity bins of items by their ids, int [n]; bin 0 holds the cold items.
      intensities: returns the intensities of users, float32 [users, modalities], from the same frame as
        `user_vectors`; None if the model has no intensities.
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
    """Returns a version of a release as a system, with all changes to its items since it was published."""
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
    """The users for whom both systems are asked.

    Attributes:
      frame: user_id (str), history and exclusions (lists of item ids); excluded items are in no list of the user.
      clicked: the user's held-out clicks as lists of item ids [users]; None if they are unknown.
      click_counts: number of training clicks by item id, int64; None if it is unknown.
    """

    frame: pd.DataFrame
    clicked: pd.Series | None = None
    click_counts: pd.Series | None = None


@dataclass(frozen=True)
class Lists:
    """The lists of a system.

    Attributes:
      vectors: vectors of the users, float32 [users, D].
      positions: positions of the listed items in the system's `ids`, int32 [users, n], best first; NO_ITEM where a list
        has ended.
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
    """Makes top-n lists by exact search over all items of a system.

    Approximate search would add the misses of an index, which `index.recall` bounds, to the differences of the systems.

    Args:
      system: the system.
      users: user_id and history of the users, as `System.user_vectors` takes them.
      exclusions: lists of the item ids that are left out of each user's list [users]; unknown ids are ignored.
      n: length of the lists.
      seed: seed of the random order of ties.
      on_progress: progress callback, which gets the number of users that are ranked and the number of all users.
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
    """Computes the scores of items for users: dot products of their vectors.

    Args:
      system: the system of the items.
      vectors: vectors of the users, float32 [users, D].
      positions: positions of the items in the system's `ids`, int [users, n].

    Returns:
      float32 [users, n]; NaN where `positions` is NO_ITEM.
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
"""Number of users whose listed items' vectors are in memory at a time."""
