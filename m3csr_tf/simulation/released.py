"""A released model as the recommender of an arm; it uses the public interface of towers, index and refresh alone."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch.search import Candidates, Seen, nearest
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release
from m3csr_tf.simulation.population import Population
from m3csr_tf.simulation.systems import Moment

logger = logging.getLogger(__name__)

_SOURCE = "simulation"


class ReleasedSystem:
    """A recommender that makes lists from the current version of a release.

    Args:
      release: the version with what its journal holds; `refresh` adds videos and view counts.
      population: the people and the videos.
      log_ids: the ids of the users in the arm's log, object [users].
    """

    def __init__(self, release: Release, population: Population, log_ids: np.ndarray) -> None:
        self._release = release
        self._ids = population.item_ids
        self._log_ids = log_ids
        self._content = population.content
        # A release from the time before models could say that they place no new items can place them.
        places = release.manifest.get("places_new_items", True)
        bare = np.all([np.isnan(vectors).any(axis=1) for vectors in population.content.values()], axis=0)
        self._waiting = bare if places else np.ones(len(bare), bool)
        if self._waiting.any():
            why = (
                f"{int(bare.sum())} of {len(bare)} videos of the world have no content vector at all"
                if places
                else "this model knows videos by their clicks alone"
            )
            logger.warning(
                "%s: no refresh can place them, so they are shown from the night on that has trained on them", why
            )

    def lists(self, moment: Moment) -> np.ndarray:
        """See `ArmRecommender`."""
        self.take_in(moment.available, moment.views)
        lookup = pd.Index(self._release.index.ids)
        rows = lookup.get_indexer(self._ids)  # The row of each video, -1 where the index lacks it.
        users = pd.DataFrame(
            {
                columns.USER_ID: self._log_ids[moment.users],
                columns.HISTORY: pd.Series([self._ids[one] for one in moment.histories], dtype=object),
            }
        )
        in_release = rows[moment.seen] >= 0
        seen = Seen(moment.seen_by[in_release], rows[moment.seen[in_release]], len(lookup))
        found, _ = nearest(Candidates(self._release.index), self._release.user_vectors(users), seen, moment.length)
        items = pd.Index(self._ids).get_indexer(lookup)
        return np.where(found == NO_ITEM, NO_ITEM, items[found])

    def take_in(self, available: np.ndarray, views: np.ndarray) -> None:
        """Adds new videos and changed view counts to the release, as an upstream job would.

        What the release already holds, also from before a kill, is not given again.

        Args:
          available: bool [items], the videos that have been published.
          views: int64 [items]; a count decides the popularity bin and so the gate and the exposure bonus.
        """
        in_release = self._release.items.holds(self._ids)
        new = np.flatnonzero(available & ~in_release & ~self._waiting)
        if len(new):
            content = {name: vectors[new] for name, vectors in self._content.items()}
            refresh(self._release, self._frame(new, views), content, source=_SOURCE)
            in_release[new] = True
        known = np.flatnonzero(in_release)
        changed = known[self._release.items.views(self._ids[known]) != views[known]]
        if len(changed):
            refresh(self._release, self._frame(changed, views), source=_SOURCE)

    def _frame(self, items: np.ndarray, views: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({columns.ITEM_ID: self._ids[items], columns.VIEW_COUNT: views[items]})
