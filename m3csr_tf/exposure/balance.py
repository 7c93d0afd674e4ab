"""The exposure bonus: the number that, added to the scores of cold items, gives them a chosen share of the lists.

Items are ranked once for each kind (cold, few clicks, others). The lists of every bonus follow from these rankings by
merging, so that finding the bonus takes no search over full rankings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import FIRST_ROW, NO_ITEM
from m3csr_tf.ranking.full_ranking import Csr, top_n
from m3csr_tf.util.progress import ProgressCallback

EXPOSED_AT = 20
"""Length n of the top-n lists whose places the bonus shares out among cold and other items."""

_SCORED = 256  # Number of users whose listed items are scored at once, which bounds the memory for item vectors.

# Two matrix products may give one user and item scores that lie this many float32 steps, at the largest score, apart.
_ROUNDING = 8


@dataclass(frozen=True)
class Ranked:
    """The top-n items of one kind (cold items, for example) for each user.

    Attributes:
      items: item rows int32 [users, n] in descending order of score; -1 in the last places if the kind has fewer than n
        items that the user has not clicked.
      scores: their scores float32 [users, n]; -inf in the places where `items` is -1.
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
    """Finds the smallest bonus at which cold items fill `share` of all users' top-n places; it may be negative.

    A user's list contains her k-th best cold item as soon as its score exceeds that of her (n - k + 1)-th best other
    item. The difference of these two scores is therefore a bonus at which the number of places that cold items fill
    grows by one. The result is an order statistic of the differences over all users and all k, moved beyond it by the
    rounding error of scores. No list is ranked twice.

    Args:
      user_vectors: float32 [users, D], indexed by user row.
      item_vectors: float32 [items, D], indexed by item row, reserved rows included.
      cold: bool [items], which items are cold.
      share: fraction of all top-n places that cold items are to fill, at least 0 and below 1.
      seen: sparse [users, items], the training clicks. A user's clicked items are no candidates for her, and users
        without a click take no part in the calibration.
      n: length of the lists.
      seed: seed of the random order of ties.
      block: number of users that are ranked at once.

    Returns:
      The bonus. For a share of 0 it is the largest bonus at which no cold item is listed. It is 0 if there is no cold
      item. If there are too few cold items for the share, it is the bonus at which all of them are listed. If there are
      too few other items, it is the bonus at which no more cold items are listed than must fill the lists.

    Raises:
      ValueError: the share is outside [0, 1), shapes do not fit, or vectors are not finite.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share}")
    calibration_users = np.flatnonzero(np.diff(seen.indptr))
    warm, new = ranked_by_kind(
        user_vectors[calibration_users],
        item_vectors,
        (~cold, cold),
        n,
        seen=seen[calibration_users],
        seed=seed,
        block=block,
    )
    return bonus_for_share(warm, new, share)


def bonus_for_share(others: Ranked, chosen: Ranked, share: float, counted: np.ndarray | None = None) -> float:
    """Finds the bonus of `cold_bonus` from rankings that exist already.

    The items that are to fill the share (the counted ones) may be others than those that get the bonus (the chosen
    ones). A chosen item that enters a list then adds a place only if it is counted, and takes one away if the item that
    leaves the list is counted. The result is the smallest bonus at which the counted items fill the share, or, if no
    bonus reaches it, the smallest at which they fill the most places.

    Args:
      others: the top-n items that get no bonus, for each user of the calibration.
      chosen: the top-n items that get the bonus, for the same users.
      share: as in `cold_bonus`.
      counted: bool [items], the items that are to fill the share; None takes the chosen ones.

    Returns:
      The bonus, with the exceptions of `cold_bonus`.
    """
    listed = chosen.items != NO_ITEM
    if not listed.any():
        return 0.0
    # The difference is -inf where the other items run out: a chosen item fills that place whatever its score is.
    differences = others.scores[:, ::-1][listed].astype(np.float64) - chosen.scores[listed]
    order = np.argsort(differences, kind="stable")
    reached = differences[order]
    available = np.count_nonzero(others.items != NO_ITEM, axis=1) + np.count_nonzero(listed, axis=1)
    wanted = math.ceil(share * np.minimum(available, listed.shape[1]).sum())
    must = np.count_nonzero(np.isinf(reached))
    if must == len(reached):
        return 0.0
    if counted is not None:
        there = _counts(others.items, counted)
        entering = _counts(chosen.items, counted)[listed] - there[:, ::-1][listed]
        places = there.sum() + np.concatenate([[0], np.cumsum(entering[order])])[must:]
        enough = np.flatnonzero(places >= wanted)
        wanted = must + int(enough[0] if len(enough) else places.argmax())
    found = reached[min(max(wanted, must + 1), len(reached)) - 1]
    largest = max(np.abs(ranked.scores[ranked.items != NO_ITEM]).max(initial=0) for ranked in (others, chosen))
    # A score near 0 is a sum of parts of a size near 1, so its rounding error is that of the parts.
    rounding = _ROUNDING * np.spacing(np.float32(max(1.0, largest + abs(found))))
    return float(found + rounding if wanted > must else found - rounding)


def _counts(items: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Returns 1 where an item row is one of those that are counted (bool [items]), otherwise 0, int64."""
    return (counted[np.maximum(items, 0)] & (items != NO_ITEM)).astype(np.int64)


def ranked_by_kind(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    kinds: Sequence[np.ndarray],
    n: int,
    *,
    seen: Csr,
    seed: int = 0,
    block: int = 1024,
    on_progress: Sequence[ProgressCallback | None] | None = None,
) -> tuple[Ranked, ...]:
    """Ranks the items of each kind separately and returns the top `n` of each.

    From these rankings, `merge` makes the top-n lists of all items for any bonus.

    Args:
      user_vectors: float32 [users, D].
      item_vectors: float32 [items, D], reserved rows included, which are never listed.
      kinds: a mask bool [items] for each kind.
      n: length of the lists.
      seen: sparse [users, items], the items to leave out of each user's lists.
      seed: seed of the random order of ties.
      block: number of users that are ranked at once.
      on_progress: progress callbacks, one for each kind. A callback gets the number of users that are ranked and the
        number of all users, from several threads.
    """
    known = np.arange(len(item_vectors)) >= FIRST_ROW
    lists = (
        top_n(
            user_vectors,
            item_vectors,
            n,
            seen=seen,
            candidates=known & kind,
            seed=seed,
            block=block,
            on_progress=callback,
        )
        for kind, callback in zip(kinds, on_progress or [None] * len(kinds), strict=True)
    )
    return tuple(_scored(user_vectors, item_vectors, items) for items in lists)


def merge(others: Ranked, raised: Ranked, bonus: float, seed: int = 0) -> Ranked:
    """Adds `bonus` to the scores of the second of two rankings, and merges them into top-n lists.

    Args:
      others: top-n lists as `ranked_by_kind` gives them; the merged lists have their length.
      raised: top-n lists of the items that get the bonus.
      bonus: what is added to the scores of `raised`; -inf leaves these items out.
      seed: seed of the random order of items of equal score, one from each ranking.
    """
    gained = raised.scores + np.float32(bonus)
    items = np.concatenate([others.items, raised.items], axis=1)
    scores = np.concatenate([others.scores, gained], axis=1)
    ties = np.random.default_rng(seed).random(scores.shape)
    best = np.lexsort((ties, -scores), axis=1)[:, : others.items.shape[1]]
    scores = np.take_along_axis(scores, best, axis=1)
    return Ranked(np.where(scores > -np.inf, np.take_along_axis(items, best, axis=1), NO_ITEM), scores)


def _scored(user_vectors: np.ndarray, item_vectors: np.ndarray, items: np.ndarray) -> Ranked:
    """Returns lists of item rows (int [users, n], NO_ITEM where a list has ended) together with their scores."""
    scores = np.empty(items.shape, np.float32)
    for start in range(0, len(items), _SCORED):
        some = slice(start, start + _SCORED)
        scores[some] = np.einsum("ud,und->un", user_vectors[some], item_vectors[items[some]])
    scores[items == NO_ITEM] = -np.inf
    return Ranked(items, scores)
