"""How often items without a click are shown, set by one number that is added to all their scores.

How new items compare with those that have clicks, training knows from items that it shows as new alone: no training
click is on a new one. So their balance can be set afterwards: every cold item gets the same bonus, below 0 where there
are too many of them, with which cold items take a given share of the users' top places. The bonus is an entry of the
item vectors (`towers.layout`, "popularity"), so that serving, indexes and metrics need to know nothing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import ExposureConfig
from m3csr_tf.data.audience import clicks_of, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.ranking import NOTHING, Csr, top_n
from m3csr_tf.ids import FIRST_ROW

EXPOSED_AT = 20
"""Length of the lists whose places are shared out."""

MOST = 0.2
"""Of the places, where cold items take their share of the catalogue, of which much may be of no use to anybody."""
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


def cold_items(prepared: Prepared) -> np.ndarray:
    """Known items of popularity bin 0, without a click (or view), bool [items]: those whose vectors hold the bonus."""
    return (np.arange(len(prepared.items)) >= FIRST_ROW) & (prepared.bins == 0)


def calibrated_bonus(
    prepared: Prepared,
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    config: ExposureConfig,
    seed: int,
    block: int = 1024,
) -> float:
    """`cold_bonus` of a run's vectors, for the settings of the run; 0 for "trained", without any look at them.

    Args:
      prepared: the data of the run.
      user_vectors, item_vectors: by row, float32 [users, D] and [items, D], without a bonus; of users anything that
        gives those of some rows by `user_vectors[rows]`.
      config: the share, and how many users tell.
      seed: of the draw of the users.
      block: users ranked at once.
    """
    if config.cold_share == "trained":
        return 0.0
    cold = cold_items(prepared)
    active = users_with(prepared, columns.TRAIN)
    asked = np.sort(np.random.default_rng(seed).permutation(active)[: config.users])
    return cold_bonus(
        user_vectors[asked],
        item_vectors,
        cold,
        catalogue_share(cold) if config.cold_share == "catalogue" else config.cold_share,
        seen=clicks_of(prepared, columns.TRAIN, asked),
        seed=seed,
        block=block,
    )


def catalogue_share(cold: np.ndarray) -> float:
    """The share of the places that cold items take if they are worth what others are: theirs of the items, up to MOST.

    Args:
      cold: bool [items], reserved rows included.
    """
    return min(MOST, float(cold[FIRST_ROW:].mean())) if len(cold) > FIRST_ROW else 0.0


def with_bonus(item_vectors: np.ndarray, cold: np.ndarray, bonus: float) -> np.ndarray:
    """Item vectors whose last entry, popularity's, is raised by `bonus` for cold items.

    Args:
      item_vectors: float32 [items, D], left as they are.
      cold: bool [items].
      bonus: what their scores gain, as the last entry of every user vector is 1.

    Returns:
      float32 [items, D].
    """
    raised = item_vectors.copy()
    raised[cold, -1] += np.float32(bonus)
    return raised


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
    warm, new = halves(user_vectors[asked], item_vectors, cold, n, seen=seen[asked], seed=seed, block=block)
    listed = new.items != NOTHING
    if not listed.any():
        return 0.0
    # Where the other items run out, -inf: a cold item takes the place whatever it scores.
    reached = np.sort(warm.scores[:, ::-1][listed].astype(np.float64) - new.scores[listed])
    available = np.count_nonzero(warm.items != NOTHING, axis=1) + np.count_nonzero(listed, axis=1)
    wanted = math.ceil(share * np.minimum(available, n).sum())
    must = np.count_nonzero(np.isinf(reached))
    if must == len(reached):
        return 0.0
    found = reached[min(max(wanted, must + 1), len(reached)) - 1]
    largest = max(np.abs(ranked.scores[ranked.items != NOTHING]).max(initial=0) for ranked in (warm, new))
    rounding = _ROUNDING * np.spacing(np.float32(largest + abs(found)))
    return float(found + rounding if wanted > must else found - rounding)


def halves(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    cold: np.ndarray,
    n: int,
    *,
    seen: Csr,
    seed: int = 0,
    block: int = 1024,
) -> tuple[Ranked, Ranked]:
    """The best `n` of the other items and the best `n` of the cold ones; their union holds every list of any bonus.

    Args:
      user_vectors: float32 [users, D].
      item_vectors: float32 [items, D], reserved rows included, which are never listed.
      cold: bool [items].
      n: length of the lists.
      seen: items to leave out, [users, items].
      seed: of the order of ties.
      block: users ranked at once.
    """
    known = np.arange(len(item_vectors)) >= FIRST_ROW
    of_warm, of_cold = (
        top_n(user_vectors, item_vectors, n, seen=seen, candidates=candidates, seed=seed, block=block)
        for candidates in (known & ~cold, known & cold)
    )
    return _scored(user_vectors, item_vectors, of_warm), _scored(user_vectors, item_vectors, of_cold)


def merged(warm: Ranked, cold: Ranked, bonus: float, seed: int = 0) -> np.ndarray:
    """The lists when every cold item's score gains `bonus`: item rows int32 [users, n], best first, -1 at the end.

    Args:
      warm, cold: as `halves` gives them.
      bonus: what cold items gain; -inf leaves them out.
      seed: of the order of equal scores of a cold item and another.
    """
    raised = cold.scores + np.float32(bonus)
    items, scores = np.concatenate([warm.items, cold.items], axis=1), np.concatenate([warm.scores, raised], axis=1)
    ties = np.random.default_rng(seed).random(scores.shape)
    best = np.lexsort((ties, -scores), axis=1)[:, : warm.items.shape[1]]
    listed = np.take_along_axis(scores, best, axis=1) > -np.inf
    return np.where(listed, np.take_along_axis(items, best, axis=1), NOTHING)


def _scored(user_vectors: np.ndarray, item_vectors: np.ndarray, items: np.ndarray) -> Ranked:
    scores = np.empty(items.shape, np.float32)
    for start in range(0, len(items), _SCORED):
        some = slice(start, start + _SCORED)
        scores[some] = np.einsum("ud,und->un", user_vectors[some], item_vectors[items[some]])
    scores[items == NOTHING] = -np.inf
    return Ranked(items, scores)
