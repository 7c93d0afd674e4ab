"""How often items without a click, or with few, are shown, set by numbers that are added to their scores.

How new items compare with those that have clicks, training knows from items that it shows as new alone: no training
click is on a new one. So their balance can be set afterwards: every cold item gets the same bonus, below 0 where there
are too many of them, with which cold items take a given share of the users' top places. Items with a few clicks have a
bonus of their own, never below 0: next to popular ones they would hardly be listed at all, and a new video that had its
places would lose them by its first click. A bonus is of a popularity bin and an entry of the item vectors
(`models.m3csr.layout`, "popularity"), so that serving, indexes and metrics need to know nothing of it.
"""

from __future__ import annotations

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
from m3csr_tf.exposure.balance import EXPOSED_AT, Ranked, lacking_bonus, merged, ranked_apart
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import Csr, top_n
from m3csr_tf.util.progress import Tell, share
from m3csr_tf.util.samples import sample

MOST = 0.2
"""Of the places, where cold items take their share of the catalogue, of which much may be of no use to anybody."""

_PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Parts of the shares that are tried, the largest first, until they cost no more than exposure.most_loss."""

_ROUNDS = 3
"""The two bonuses hang on each other's; so many turns bring them near what they would end at, the cold ones' last."""


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
            of_few = max(0.0, lacking_bonus(merged(others, cold, of_cold, seed), few, few_share))
        if not hide_cold:
            of_cold = lacking_bonus(merged(others, few, of_few, seed), cold, cold_share)
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
