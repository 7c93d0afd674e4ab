"""How new items compare with others: the bonus with which they take a given share of the users' first places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import NOTHING, Csr, top_n
from m3csr_tf.util.progress import Tell

EXPOSED_AT = 20
"""Length of the lists whose places are shared out."""

_SCORED = 256  # Users whose listed items are scored at once.

_ROUNDING = 8  # Steps of float32 at the largest score: by so much can a score differ from one product to the next.


@dataclass(frozen=True)
class Ranked:
    """The best items of one kind for each user.

    Attributes:
      items: item rows int32 [users, n], best first, -1 where none is left.
      scores: their scores float32 [users, n], -inf where none is left.
    """

    items: np.ndarray
    scores: np.ndarray


def cold_bonus(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    cold: np.ndarray,
    share: float,
    *,
    seen: Csr,
    n: int = EXPOSED_AT,
    seed: int = 0,
    block: int = 1024,
) -> float:
    """The smallest bonus at which cold items take `share` of the users' top-n places; it may be below 0.

    A user's list holds her k-th best cold item as soon as its score passes that of the (n - k + 1)-th best other item.
    The differences of the two, of all users and k, are where the cold items' places grow by one; so the bonus is an
    order statistic of them, beyond it by the rounding of scores. No list is ranked twice.

    Args:
      user_vectors: float32 [users, D], by user row.
      item_vectors: float32 [items, D], by item row, reserved rows included.
      cold: bool [items].
      share: of the places, from 0 to below 1.
      seen: the training clicks, [users, items], which are no candidates; users without one are not asked.
      n: length of the lists.
      seed: of the order of ties.
      block: users ranked at once.

    Returns:
      For a share of 0, the largest bonus with which no cold item is listed. 0 where there is no cold item. Where they
      are too few for the share, what puts all of them into the lists; where the other items are too few, what lists no
      more cold ones than it must.

    Raises:
      ValueError: the share is none, shapes do not fit, or vectors are not finite.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share}")
    asked = np.flatnonzero(np.diff(seen.indptr))
    warm, new = ranked_apart(
        user_vectors[asked], item_vectors, (~cold, cold), n, seen=seen[asked], seed=seed, block=block
    )
    return lacking_bonus(warm, new, share)


def lacking_bonus(others: Ranked, chosen: Ranked, share: float) -> float:
    """`cold_bonus`, for the chosen items beside the others, of users who are all asked."""
    listed = chosen.items != NOTHING
    if not listed.any():
        return 0.0
    # Where the other items run out, -inf: a chosen one takes the place whatever it scores.
    reached = np.sort(others.scores[:, ::-1][listed].astype(np.float64) - chosen.scores[listed])
    available = np.count_nonzero(others.items != NOTHING, axis=1) + np.count_nonzero(listed, axis=1)
    wanted = math.ceil(share * np.minimum(available, listed.shape[1]).sum())
    must = np.count_nonzero(np.isinf(reached))
    if must == len(reached):
        return 0.0
    found = reached[min(max(wanted, must + 1), len(reached)) - 1]
    largest = max(np.abs(ranked.scores[ranked.items != NOTHING]).max(initial=0) for ranked in (others, chosen))
    # Scores near 0 are sums of parts near 1, whose rounding they have.
    rounding = _ROUNDING * np.spacing(np.float32(max(1.0, largest + abs(found))))
    return float(found + rounding if wanted > must else found - rounding)


def ranked_apart(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    kinds: Sequence[np.ndarray],
    n: int,
    *,
    seen: Csr,
    seed: int = 0,
    block: int = 1024,
    told: Sequence[Tell | None] | None = None,
) -> tuple[Ranked, ...]:
    """The best `n` of the items of each kind; `merged`, they hold every list of any bonuses.

    Args:
      user_vectors: float32 [users, D].
      item_vectors: float32 [items, D], reserved rows included, which are never listed.
      kinds: bool [items] each.
      n: length of the lists.
      seen: items to leave out, [users, items].
      seed: of the order of ties.
      block: users ranked at once.
      told: one a kind, told how many users its items are ranked for, and of how many, by several threads.
    """
    known = np.arange(len(item_vectors)) >= FIRST_ROW
    lists = (
        top_n(user_vectors, item_vectors, n, seen=seen, candidates=known & kind, seed=seed, block=block, told=tell)
        for kind, tell in zip(kinds, told or [None] * len(kinds), strict=True)
    )
    return tuple(_scored(user_vectors, item_vectors, items) for items in lists)


def merged(others: Ranked, raised: Ranked, bonus: float, seed: int = 0) -> Ranked:
    """The lists of both, when the second's scores gain `bonus`: the best of them, as many as the first has places.

    Args:
      others, raised: as `ranked_apart` gives them.
      bonus: what the second's items gain; -inf leaves them out.
      seed: of the order of equal scores of an item of each.
    """
    gained = raised.scores + np.float32(bonus)
    items = np.concatenate([others.items, raised.items], axis=1)
    scores = np.concatenate([others.scores, gained], axis=1)
    ties = np.random.default_rng(seed).random(scores.shape)
    best = np.lexsort((ties, -scores), axis=1)[:, : others.items.shape[1]]
    scores = np.take_along_axis(scores, best, axis=1)
    return Ranked(np.where(scores > -np.inf, np.take_along_axis(items, best, axis=1), NOTHING), scores)


def _scored(user_vectors: np.ndarray, item_vectors: np.ndarray, items: np.ndarray) -> Ranked:
    scores = np.empty(items.shape, np.float32)
    for start in range(0, len(items), _SCORED):
        some = slice(start, start + _SCORED)
        scores[some] = np.einsum("ud,und->un", user_vectors[some], item_vectors[items[some]])
    scores[items == NOTHING] = -np.inf
    return Ranked(items, scores)
