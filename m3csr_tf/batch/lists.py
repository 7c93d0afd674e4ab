"""Top-N lists of one batch of users: from ids to rows once, then rows alone, and ids again at the end."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch.filters import Selection
from m3csr_tf.batch.search import NOTHING, Candidates, Seen, nearest
from m3csr_tf.serving.release import Release
from m3csr_tf.serving.requests import flatten

SCORED_AT_ONCE = 8192
"""User-item pairs whose parts are computed at once; their vectors fit a cache."""


class Lists(NamedTuple):
    """Lists of some users, a row an item, and how many users have fewer items than asked for."""

    table: pa.Table
    short: int


class ListMaker:
    """Makes the lists of a job, batch by batch.

    Args:
      release: a release; its index must stay as it is.
      selection: what of it may be in a list.
      n: length of the lists.
    """

    def __init__(self, release: Release, selection: Selection, n: int) -> None:
        self._release = release
        self._selection = selection
        self._n = n
        self._item_ids = pa.array(release.index.ids, pa.string())
        self._parts = np.zeros([release.index.width, len(release.layout)], np.float32)
        for column, place in enumerate(release.layout.values()):
            self._parts[place, column] = 1
        self.schema = _schema(release)
        """Columns of the lists and their types."""

    def lists(self, users: pd.DataFrame) -> Lists:
        """The lists of users, in their order; a list ends where no unseen item is left.

        Args:
          users: user_id (str), history and exclusions (lists of str).
        """
        vectors = self._release.user_vectors(users)
        found, values = self.nearest(vectors, self._seen(users))
        owner, place = np.nonzero(found != NOTHING)
        rows = found[owner, place]
        parts = self._score_parts(vectors, owner, rows)
        user_ids = pa.array(users[columns.USER_ID].to_numpy(dtype=object), pa.string())
        arrays = [
            user_ids.take(pa.array(owner)),
            pa.array((place + 1).astype(np.int32)),
            self._item_ids.take(pa.array(rows)),
            pa.array(values[owner, place]),
            pa.array(np.full(len(rows), self._release.version, np.int32)),
            *(pa.array(np.ascontiguousarray(parts[:, column])) for column in range(parts.shape[1])),
        ]
        short = int((found[:, -1] == NOTHING).sum())
        return Lists(pa.Table.from_arrays(arrays, schema=self.schema), short)

    def nearest(self, vectors: np.ndarray, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the lists, [users, n], best first; NOTHING and -inf where a list ends.

        With a quota q, at least ceil(q * n) items of a list are cold, or all that the user has not seen if those are
        fewer: where the best n hold too few, the best cold items take the places of the last others. A list stays in
        the order of its scores.

        Args:
          vectors: float32 [users, D].
          seen: of the same users.
        """
        chosen = self._selection
        rows, scores = nearest(chosen.candidates, vectors, seen, self._n)
        if chosen.cold is None or chosen.is_cold is None:
            return rows, scores
        cold = chosen.is_cold[rows] & (rows != NOTHING)
        quota = min(self._n, math.ceil(round(chosen.quota * self._n, 6)))
        lacking = np.flatnonzero((cold.sum(axis=1) < quota) & (rows[:, -1] != NOTHING))
        if len(lacking):
            least = nearest(chosen.cold, vectors[lacking], seen.of(lacking), quota)
            rows[lacking], scores[lacking] = _mixed(rows[lacking], scores[lacking], cold[lacking], *least)
        return rows, scores

    def _seen(self, users: pd.DataFrame) -> Seen:
        owners, rows = [], []
        for name in (columns.HISTORY, columns.EXCLUSIONS):
            items, of_items = flatten(users[name])
            found = self._release.index.rows(items)
            owners.append(of_items[found >= 0])
            rows.append(found[found >= 0])
        return Seen(np.concatenate(owners), np.concatenate(rows), len(self._release.index))

    def _score_parts(self, vectors: np.ndarray, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Parts of the scores of pairs, float32 [pairs, parts], in the order of the layout."""
        parts = np.empty([len(rows), self._parts.shape[1]], np.float32)
        for start in range(0, len(rows), SCORED_AT_ONCE):
            block = slice(start, start + SCORED_AT_ONCE)
            products = vectors[owner[block]]
            products *= self._release.index.vectors_at(rows[block])
            np.matmul(products, self._parts, out=parts[block])
        return parts


def top_n_lists(release: Release, users: pd.DataFrame, n: int, selection: Selection | None = None) -> pd.DataFrame:
    """Top-N lists of one batch of users, as a job writes them.

    Args:
      release: a release.
      users: user_id (str), history and exclusions (lists of str).
      n: length of the lists.
      selection: what of the release may be in a list (`filters.select`); all when None.

    Returns:
      user_id, rank (from 1), item_id, score, model_version, part_id and part_<modality>, in the order of users, then of
      rank; a user has fewer than n where the catalogue holds no more unseen items.
    """
    selection = selection or Selection(Candidates(release.index))
    return ListMaker(release, selection, n).lists(users).table.to_pandas()


def _mixed(
    rows: np.ndarray, scores: np.ndarray, cold: np.ndarray, cold_rows: np.ndarray, cold_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Full lists [users, n] with the best cold items [users, quota] in the places of the last others."""
    n = rows.shape[1]
    least = (cold_rows != NOTHING).sum(axis=1)
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
