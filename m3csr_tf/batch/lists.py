"""Makes the top-N lists of one batch of users. Ids become rows once, lists are made of rows, and ids come back last."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch.filters import Selection
from m3csr_tf.batch.list_rules import ListRules
from m3csr_tf.batch.rule_search import lists_by_rules
from m3csr_tf.batch.search import Seen, nearest
from m3csr_tf.export.requests import flatten
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.releases.release import Release

SCORED_AT_ONCE = 1024
"""Number of user-item pairs whose score parts are computed at once, so that their vectors stay in a core's cache."""


class RankedLists(NamedTuple):
    """The result of a search for some users.

    Attributes:
      users: ids of the users, object array of str [users].
      vectors: user vectors float32 [users, D].
      rows: rows of the release's index, int64 [users, n], best first; NO_ITEM beyond the end of a list.
      scores: float32 [users, n].
      requested: the length of list that was asked for; n is smaller if fewer items may be in a list.
    """

    users: np.ndarray
    vectors: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    requested: int

    @property
    def short(self) -> int:
        """Number of users with fewer items than were asked for."""
        if self.rows.shape[1] < self.requested:
            return len(self.rows)
        return int((self.rows[:, -1] == NO_ITEM).sum())


class Ids(NamedTuple):
    """The item ids of some users' lists, concatenated.

    Attributes:
      items: object array of str [ids].
      owners: positions of the users whose lists hold them, int64 [ids].
      rows: rows of the release's index, int64 [ids], -1 for items that it lacks.
    """

    items: np.ndarray
    owners: np.ndarray
    rows: np.ndarray


class ListMaker:
    """Makes the lists of a job batch by batch: `seen`, `find`, then `table`, each of which may run in its own thread.

    Args:
      release: the release, whose index must not change meanwhile.
      selection: the items of it that may be in a list.
      n: length of the lists; they are shorter if fewer items may be in them.
      rules: the rules of every list; None if there are none.

    Attributes:
      length: length of the longest possible list, at most n; this much memory is held for each user.
    """

    def __init__(self, release: Release, selection: Selection, n: int, rules: ListRules | None = None) -> None:
        self._release = release
        self._rules = rules
        self._selection = selection
        self._requested = n
        self.length = min(n, selection.candidates.count)
        self.schema = _schema(release)
        """The columns of the lists and their types."""

    def ids(self, users: pd.DataFrame) -> tuple[Ids, Ids]:
        """Returns the items of the users' histories and of their exclusions, both given as lists of str."""
        return self.ids_of(users[columns.HISTORY]), self.ids_of(users[columns.EXCLUSIONS])

    def ids_of(self, lists: pd.Series | np.ndarray) -> Ids:
        """Returns the items of lists of str, one for each user."""
        items, owners = flatten(lists)
        return Ids(items, owners, self._release.index.rows(items))

    def seen(self, *lists: Ids) -> Seen:
        """Returns what the users have seen: the items of their lists that the release has."""
        owners, rows = (np.concatenate([of.owners for of in lists]), np.concatenate([of.rows for of in lists]))
        return Seen(owners[rows >= 0], rows[rows >= 0], len(self._release.index))

    def find(self, users: pd.DataFrame, seen: Seen) -> RankedLists:
        """Computes the user vectors and searches the lists, as rows of the index.

        Args:
          users: user_id (str) and history (lists of str).
          seen: what the same users have seen.
        """
        vectors = self._release.user_vectors(users)
        rows, scores = self.nearest(vectors, seen)
        return RankedLists(users[columns.USER_ID].to_numpy(dtype=object), vectors, rows, scores, self._requested)

    def table(self, ranked: RankedLists) -> pa.Table:
        """Returns the lists as a table, one row for each listed item, with the parts of its score."""
        listed = ranked.rows != NO_ITEM
        owner, position = np.nonzero(listed)
        arrays = [
            pa.array(ranked.users, pa.string()).take(pa.array(owner)),
            pa.array((position + 1).astype(np.int32)),
            self._item_ids.take(pa.array(ranked.rows[listed])),
            pa.array(ranked.scores[listed]),
            pa.array(np.full(len(owner), self._release.version, np.int32)),
            *(pa.array(values[listed]) for values in self.score_parts(ranked)),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def nearest(self, vectors: np.ndarray, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and scores of the lists, [users, n], best first; NO_ITEM and -inf beyond the end of a list.

        With a quota q, at least ceil(q * n) items of a list are cold, or all cold items that the user has not seen if
        those are fewer. Where the best n items hold too few cold ones, the best further cold items replace the lowest
        ranked other items. A list is always sorted by its scores. With rules, see `lists_by_rules`.

        Args:
          vectors: user vectors float32 [users, D].
          seen: what the same users have seen.
        """
        chosen = self._selection
        if self._rules is not None:
            return lists_by_rules(chosen, vectors, seen, self.length, self._rules)
        rows, scores = nearest(chosen.candidates, vectors, seen, self.length)
        if chosen.cold is None or chosen.is_cold is None:
            return rows, scores
        cold = chosen.is_cold[rows] & (rows != NO_ITEM)
        quota = min(self.length, math.ceil(round(chosen.quota * self.length, 6)))
        lacking = np.flatnonzero((cold.sum(axis=1) < quota) & (rows[:, -1] != NO_ITEM))
        if len(lacking):
            least = nearest(chosen.cold, vectors[lacking], seen.of(lacking), quota)
            rows[lacking], scores[lacking] = _mixed(rows[lacking], scores[lacking], cold[lacking], *least)
        return rows, scores

    def score_parts(self, ranked: RankedLists) -> np.ndarray:
        """Returns parts of the scores, float32 [parts, users, n], in layout order, undefined beyond a list's end."""
        part_slices = self._release.layout.values()
        parts = np.empty([len(part_slices), *ranked.rows.shape], np.float32)
        step = max(1, SCORED_AT_ONCE // self.length)
        for start in range(0, len(ranked.rows), step):
            block = slice(start, start + step)
            rows, users = np.maximum(ranked.rows[block], 0), ranked.vectors[block]
            items = self._release.index.vectors_at(rows.ravel()).reshape(*rows.shape, -1)
            for part, part_slice in zip(parts, part_slices, strict=True):
                part[block] = np.matmul(items[:, :, part_slice], users[:, part_slice, np.newaxis])[:, :, 0]
        return parts

    @cached_property
    def _item_ids(self) -> pa.Array:
        return pa.array(self._release.index.ids, pa.string())


def _mixed(
    rows: np.ndarray, scores: np.ndarray, cold: np.ndarray, cold_rows: np.ndarray, cold_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the best cold items [users, quota] into full lists [users, n], instead of the lowest ranked other items."""
    n = rows.shape[1]
    least = (cold_rows != NO_ITEM).sum(axis=1)
    warm = ~cold & (np.cumsum(~cold, axis=1) <= n - least[:, np.newaxis])
    all_rows = np.concatenate([rows, cold_rows], axis=1)
    all_scores = np.concatenate([np.where(warm, scores, -np.inf), cold_scores], axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :n]
    more = (least > cold.sum(axis=1))[:, np.newaxis]
    return (
        np.where(more, np.take_along_axis(all_rows, order, axis=1), rows),
        np.where(more, np.take_along_axis(all_scores, order, axis=1), scores),
    )


def _schema(release: Release) -> pa.Schema:
    return pa.schema(
        [
            (columns.USER_ID, pa.string()),
            (columns.RANK, pa.int32()),
            (columns.ITEM_ID, pa.string()),
            (columns.SCORE, pa.float32()),
            (columns.MODEL_VERSION, pa.int32()),
            *((columns.part_column(part), pa.float32()) for part in release.layout),
        ]
    )
