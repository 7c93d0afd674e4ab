"""Searches lists that keep to rules: more candidates than wanted, until N are left or there are no more candidates."""

from __future__ import annotations

import math

import numpy as np

from m3csr_tf.batch.filters import Selection
from m3csr_tf.batch.list_rules import ListRules
from m3csr_tf.batch.search import SEARCHED_AT_ONCE, Candidates, Seen, nearest
from m3csr_tf.ids import NO_ITEM

OVER_FETCH = 2
"""Number of candidates that are fetched first for each place of a list; where they are too few, the number doubles."""

Lists = tuple[np.ndarray, np.ndarray]
"""Rows of the release's index, int64 [users, n], and scores, float32 [users, n], best first; NO_ITEM and -inf after."""


def lists_by_rules(selection: Selection, vectors: np.ndarray, seen: Seen, n: int, rules: ListRules) -> Lists:
    """Finds the greedy lists (`list_rules`) of some users over all candidates, and meets the quota of cold items.

    The greedy list stands if it holds the quota, ceil(q * n) cold items. If not, the quota comes first: the greedy list
    of cold items alone, of that length, is reserved, and the other places go greedily to the best candidates that the
    rules allow beside the reserved ones. If the rules, or what the user has seen, leave no more cold items than the
    greedy list holds, it stands too.

    Args:
      selection: what may be in a list, and the quota.
      vectors: user vectors float32 [users, D].
      seen: what the same users have seen.
      n: length of the lists.
      rules: the rules, for the rows of the release's index.
    """
    rows, scores = _greedy(selection.candidates, vectors, seen, n, rules)
    if selection.cold is None or selection.is_cold is None:
        return rows, scores
    quota = min(n, math.ceil(round(selection.quota * n, 6)))
    cold = (selection.is_cold[rows] & (rows != NO_ITEM)).sum(axis=1)
    lacking = np.flatnonzero(cold < quota)
    if not len(lacking):
        return rows, scores
    reserved = _greedy(selection.cold, vectors[lacking], seen.of(lacking), quota, rules)
    more = (reserved[0] != NO_ITEM).sum(axis=1) > cold[lacking]
    some = lacking[more]
    if len(some):
        first = reserved[0][more], reserved[1][more]
        rows[some], scores[some] = _greedy(selection.candidates, vectors[some], seen.of(some), n, rules, first)
    return rows, scores


def _greedy(
    candidates: Candidates, vectors: np.ndarray, seen: Seen, n: int, rules: ListRules, reserved: Lists | None = None
) -> Lists:
    rows = np.full([len(vectors), n], NO_ITEM, np.int64)
    scores = np.full([len(vectors), n], -np.inf, np.float32)
    users, wanted = np.arange(len(vectors)), min(OVER_FETCH * n, candidates.count)
    while len(users) and wanted:
        again = []
        size = max(1, SEARCHED_AT_ONCE // wanted)
        for some in np.split(users, range(size, len(users), size)):
            found, values = nearest(candidates, vectors[some], seen.of(some), wanted)
            first = None if reserved is None else (reserved[0][some], reserved[1][some])
            rows[some], scores[some] = rules.choose(found, values, n, first)
            is_short, has_more = rows[some, -1] == NO_ITEM, found[:, -1] != NO_ITEM
            again.append(some[is_short & has_more])
        users = np.concatenate(again) if wanted < candidates.count else users[:0]
        wanted = min(2 * wanted, candidates.count)
    return rows, scores
