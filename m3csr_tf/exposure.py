"""How often items without a click, or with few, are shown, set by numbers that are added to their scores.

How new items compare with those that have clicks, training knows from items that it shows as new alone: no training
click is on a new one. So their balance can be set afterwards: every cold item gets the same bonus, below 0 where there
are too many of them, with which cold items take a given share of the users' top places. Items with a few clicks have a
bonus of their own, never below 0: next to popular ones they would hardly be listed at all, and a new video that had its
places would lose them by its first click. A bonus is of a popularity bin and an entry of the item vectors
(`models.m3csr.layout`, "popularity"), so that serving, indexes and metrics need to know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import ExposureConfig
from m3csr_tf.data.audience import clicks_of, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.metrics import NDCG, RECALL, name, per_user
from m3csr_tf.evaluation.report import FEW_CLICKS
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import NOTHING, Csr, top_n
from m3csr_tf.util.progress import Tell, share
from m3csr_tf.util.samples import sample

EXPOSED_AT = 20
"""Length of the lists whose places are shared out."""

MOST = 0.2
"""Of the places, where cold items take their share of the catalogue, of which much may be of no use to anybody."""
_PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Parts of the shares that are tried, the largest first, until they cost no more than exposure.most_loss."""
_ROUNDS = 3
"""The two bonuses hang on each other's; so many turns bring them near what they would end at, the cold ones' last."""
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


def few_bins(popularity: PopularityBins) -> np.ndarray:
    """Bins of items with few clicks (or views), bool [bins]: the first above 0, and all that end by FEW_CLICKS."""
    last = np.append(popularity.edges[1:] - 1, np.iinfo(np.int64).max)
    few = np.append(False, last <= FEW_CLICKS)
    few[1] = True
    return few


def calibrated_bonuses(
    prepared: Prepared,
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    config: ExposureConfig,
    seed: int,
    block: int = 1024,
    hide_cold: bool = False,
    told: Tell | None = None,
) -> np.ndarray:
    """What the items of each popularity bin gain by the settings of a run.

    Nothing but training clicks is known here, and those of validation judge: the bonuses are part of what the metrics
    measure, so clicks of test, or of validation as a history, would show the answers. A release adds the same ones.

    Args:
      prepared: the data of the run.
      user_vectors, item_vectors: by row, float32 [users, D] and [items, D], without a bonus; of users anything that
        gives those of some rows by `user_vectors[rows]`.
      config: the shares, and how many users tell.
      seed: of the draw of the users.
      block: users ranked at once.
      hide_cold: as if cold items were to take no place; their bonus is -inf then.
      told: told how many percent are done, by several threads.

    Returns:
      float32 [bins]: of bin 0 what takes cold items to their share, of the bins of few clicks what takes those to
      theirs at least, of others 0. For the share "trained" all 0, without any look at the vectors.
    """
    bonuses = np.zeros(prepared.popularity.count, np.float32)
    if config.cold_share == "trained":
        bonuses[0] = -np.inf if hide_cold else 0
        return bonuses
    kinds = by_clicks(prepared)
    cold_share = catalogue_share(kinds[-1]) if config.cold_share == "catalogue" else config.cold_share
    few_share = min(config.few_share, float(kinds[1][FIRST_ROW:].mean())) if len(prepared.items) > FIRST_ROW else 0.0
    active = users_with(prepared, columns.TRAIN)
    asked = sample(active, config.users, seed, nested=True)
    seen = clicks_of(prepared, columns.TRAIN, asked)
    # Rankings: of each kind of items; and where bonuses are judged, without any and for each part of the shares.
    most = len(kinds) + (1 + len(_PARTS) if config.cold_share == "catalogue" and not hide_cold else 0)
    ranked = ranked_apart(
        user_vectors[asked],
        item_vectors,
        kinds,
        EXPOSED_AT,
        seen=seen,
        seed=seed,
        block=block,
        told=[share(told, place, most) for place in range(len(kinds))],
    )
    few = few_bins(prepared.popularity)
    judge = _Judge.of(prepared, user_vectors, item_vectors, config.users, seed, block)
    # A share that is asked for in numbers is given, whatever it costs; so is one whose worth validation cannot see.
    judged = config.cold_share == "catalogue" and not hide_cold and judge.sees(kinds[-1])
    parts = _PARTS if judged else _PARTS[:1]
    for place, part in enumerate(parts, start=len(kinds) + 1):
        of_cold, of_few = _balanced(ranked, part * cold_share, part * few_share, hide_cold, seed)
        bonuses[few], bonuses[0] = of_few, of_cold
        if len(parts) == 1 or judge.loss(bonuses, share(told, place, most)) <= config.most_loss:
            break
    return bonuses


def _balanced(
    ranked: tuple[Ranked, ...], cold_share: float, few_share: float, hide_cold: bool, seed: int
) -> tuple[float, float]:
    """The bonuses of cold items and of those with few clicks, at which they take their shares of the places."""
    others, few, cold = ranked
    of_few, of_cold = 0.0, -np.inf if hide_cold else 0.0
    for _ in range(_ROUNDS if few_share else 1):
        if few_share:
            of_few = max(0.0, _lacking(merged(others, cold, of_cold, seed), few, few_share))
        if not hide_cold:
            of_cold = _lacking(merged(others, few, of_few, seed), cold, cold_share)
    return of_cold, of_few


@dataclass(frozen=True)
class _Judge:
    """What bonuses cost the users of validation.

    Attributes:
      users: their vectors float32 [users, D].
      items: item vectors float32 [items, D], without a bonus.
      prepared: the data.
      truth, seen: their clicks of validation and of training, [users, items].
      seed, block: as `top_n` takes them.
    """

    users: np.ndarray
    items: np.ndarray
    prepared: Prepared
    truth: sparse.csr_matrix
    seen: Csr
    seed: int
    block: int

    @classmethod
    def of(
        cls, prepared: Prepared, user_vectors: np.ndarray, items: np.ndarray, most: int, seed: int, block: int
    ) -> _Judge:
        """Of a seeded draw of at most `most` users with a click in validation."""
        judges = sample(users_with(prepared, columns.VAL), most, seed, nested=True)
        truth, seen = (clicks_of(prepared, split, judges) for split in (columns.VAL, columns.TRAIN))
        return cls(user_vectors[judges], items, prepared, truth, seen, seed, block)

    def sees(self, cold: np.ndarray) -> bool:
        """Whether validation has clicks on cold items (bool [items]) as life would have them.

        Strictly cold items are kept out of it by the split: there, whatever places they take would seem to be lost.
        """
        hidden = self.prepared.catalogue[columns.IS_STRICTLY_COLD].any()
        return not hidden and bool(cold[self.truth.indices].any())

    def loss(self, bonuses: np.ndarray, told: Tell | None = None) -> float:
        """Share of Recall@20 or of NDCG@20, whichever is larger, that bonuses float32 [bins] cost.

        They cost what lists hold in which cold items take no place and nothing is added to those with few clicks.
        Below 0 where they gain something, 0 without users or hits. `told` is told how many users are ranked for.
        """
        if not len(self.users):
            return 0.0
        known, without = np.arange(len(self.items)) >= FIRST_ROW, self._without
        found = self._figures(with_bonuses(self.items, self.prepared, bonuses), known, told)
        return max((1 - found[one] / without[one] for one in without if without[one]), default=0.0)

    @cached_property
    def _without(self) -> dict[str, float]:
        known = np.arange(len(self.items)) >= FIRST_ROW
        return self._figures(self.items, known & ~cold_items(self.prepared))

    def _figures(self, items: np.ndarray, candidates: np.ndarray, told: Tell | None = None) -> dict[str, float]:
        ranked = top_n(
            self.users,
            items,
            EXPOSED_AT,
            seen=self.seen,
            candidates=candidates,
            seed=self.seed,
            block=self.block,
            told=told,
        )
        found = per_user(ranked, self.truth, [EXPOSED_AT])
        return {one: float(found[one].mean()) for one in (name(RECALL, EXPOSED_AT), name(NDCG, EXPOSED_AT))}


def by_clicks(prepared: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Known items with many clicks (or views), with few, and without any, bool [items] each."""
    known, few = np.arange(len(prepared.items)) >= FIRST_ROW, few_bins(prepared.popularity)[prepared.bins]
    cold = cold_items(prepared)
    return known & ~few & ~cold, known & few, cold


def with_bonuses(item_vectors: np.ndarray, prepared: Prepared, bonuses: np.ndarray) -> np.ndarray:
    """Item vectors float32 [items, D] whose last entries are raised by what their bins gain, float32 [bins]."""
    raised = item_vectors.copy()
    raised[FIRST_ROW:, -1] += bonuses[prepared.bins[FIRST_ROW:]]
    return raised


def catalogue_share(cold: np.ndarray) -> float:
    """The share of the places that cold items take if they are worth what others are: theirs of the items, up to MOST.

    Args:
      cold: bool [items], reserved rows included.
    """
    return min(MOST, float(cold[FIRST_ROW:].mean())) if len(cold) > FIRST_ROW else 0.0


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
    return _lacking(warm, new, share)


def _lacking(others: Ranked, chosen: Ranked, share: float) -> float:
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
