"""Calibrates the popularity bias of cold and rare items, so that they fill a chosen share of the top-20 places.

No training click is on a cold item. How cold items score beside others is learned from id dropout alone, that is from
clicked items that training shows without their ids. Their balance with other items is therefore set after training:

- Every cold item gets the same bonus, at which cold items fill a given share of all users' top-20 places. The bonus is
  negative where cold items would fill more than that.
- Items with a few clicks get a bonus of their own, which is never negative. Without it they would hardly be listed
  beside popular items, and a new video that had got its places would lose them with its first click.

A bonus belongs to a popularity bin, and is added to an entry of the item vectors (`models.m3csr.layout`, "popularity").
Serving, indexes and metrics therefore need no code for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import ExposureConfig
from m3csr_tf.data.audience import read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.metrics import NDCG, RECALL, name, per_user
from m3csr_tf.evaluation.report import FEW_CLICKS
from m3csr_tf.exposure.balance import EXPOSED_AT, Ranked, bonus_for_share, merge, ranked_by_kind
from m3csr_tf.exposure.bonuses import with_bonuses
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import Csr, top_n
from m3csr_tf.util.progress import ProgressCallback, share
from m3csr_tf.util.samples import sample

MOST_COLD_SHARE = 0.2
"""Largest share of the places for cold items with exposure.cold_share=catalogue. Where most of the catalogue is cold,
much of it may be of no use to anybody."""

_PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Fractions of the two shares (of cold items, and of items with few clicks) that are tried in turn, until the loss on
validation is at most exposure.most_loss. The last one is taken whatever it costs."""

_ROUNDS = 3
"""Rounds of coordinate-wise updates of the two bonuses, each of which depends on the other. After three rounds they are
near their fixed point; the bonus of cold items is updated last."""


def cold_bonus_items(prepared: Prepared) -> np.ndarray:
    """Returns which items get the cold bonus, bool [items]: those in popularity bin 0, without a click (or view).

    The reserved rows (padding and unknown) are never among them.
    """
    return (np.arange(len(prepared.items)) >= FIRST_ROW) & (prepared.bins == 0)


def few_bins(popularity: PopularityBins) -> np.ndarray:
    """Returns which popularity bins hold items with few clicks (or views), bool [bins].

    These are bin 1, and every further bin whose largest count is at most FEW_CLICKS.
    """
    last = np.append(popularity.edges[1:] - 1, np.iinfo(np.int64).max)
    few = np.append(False, last <= FEW_CLICKS)
    few[1] = True
    return few


class Calibration(NamedTuple):
    """The result of a calibration.

    Attributes:
      bonuses: float32 [bins]. Bin 0 has the bonus at which cold items fill their share of the places. Bins of few
        clicks have the bonus at which their items fill at least their share. All others have 0. With
        cold_share="trained" all are 0.
      part: the fraction of the two shares for which the bonuses were computed.
    """

    bonuses: np.ndarray
    part: float


def calibrate(
    prepared: Prepared,
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    config: ExposureConfig,
    seed: int,
    block: int = 1024,
    hide_cold: bool = False,
    on_progress: ProgressCallback | None = None,
    part: float | None = None,
    cold: np.ndarray | None = None,
) -> Calibration:
    """Computes the exposure bonus of each popularity bin by the settings of a run.

    User vectors come from training clicks alone, and validation clicks only judge the result. The metrics measure lists
    with the bonuses in them, so a bonus that had seen test clicks, or validation clicks in a history, would leak the
    answers. A release adds the same bonuses.

    Args:
      prepared: the data of the run.
      user_vectors: float32 [users, D] by user row, or any object that gives the vectors of some rows by
        `user_vectors[rows]`.
      item_vectors: float32 [items, D] by item row, without bonuses.
      config: the shares, the loss that they may cost, and how many users are sampled.
      seed: seed of the sample of users and of ties.
      block: number of users that are ranked at once.
      hide_cold: compute the bonuses for lists without cold items; the bonus of bin 0 is then -inf.
      on_progress: progress callback, which gets the percentage that is done, from several threads.
      part: the fraction of the shares to take. A final fit, which has no validation clicks, takes that of the run that
        chose its settings. None lets validation choose.
      cold: bool [items], the items that are to fill the share of cold items; None takes those of bin 0. The towers know
        an item's popularity bin and not its age, so the bonus always belongs to bin 0.

    Returns:
      The bonuses and the fraction. With cold_share="trained" the vectors are not used.
    """
    bonuses = np.zeros(prepared.popularity.count, np.float32)
    if config.cold_share == "trained":
        bonuses[0] = -np.inf if hide_cold else 0
        return Calibration(bonuses, _PARTS[0])
    kinds = by_clicks(prepared)
    filling = kinds[-1] if cold is None else cold
    cold_share = catalogue_share(filling) if config.cold_share == "catalogue" else config.cold_share
    few_share = min(config.few_share, float(kinds[1][FIRST_ROW:].mean())) if len(prepared.items) > FIRST_ROW else 0.0
    active = users_with(prepared, columns.TRAIN)
    calibration_users = sample(active, config.users, seed, nested=True)
    seen = read_clicks(prepared, columns.TRAIN, calibration_users)
    # Progress counts rankings: one for each kind of items and, if the loss on validation is measured, one without
    # bonuses and one for each fraction of the shares.
    judged = config.cold_share == "catalogue" and not hide_cold and part is None
    most = len(kinds) + (1 + len(_PARTS) if judged else 0)
    ranked = ranked_by_kind(
        user_vectors[calibration_users],
        item_vectors,
        kinds,
        EXPOSED_AT,
        seen=seen,
        seed=seed,
        block=block,
        on_progress=[share(on_progress, position, most) for position in range(len(kinds))],
    )
    few = few_bins(prepared.popularity)
    # A share that is given as a number is met whatever it costs, and so is a share whose benefit validation cannot
    # measure.
    limited = False
    if judged:
        bonus_loss = _BonusLoss.of(prepared, user_vectors, item_vectors, config.users, seed, block)
        limited = bonus_loss.sees(filling)
    parts = _PARTS if limited else (_PARTS[0] if part is None else part,)
    for position, tried in enumerate(parts, start=len(kinds) + 1):
        cold_bonus, few_bonus = _balanced(ranked, tried * cold_share, tried * few_share, hide_cold, seed, cold)
        bonuses[few], bonuses[0] = few_bonus, cold_bonus
        if len(parts) == 1 or bonus_loss.loss(bonuses, share(on_progress, position, most)) <= config.most_loss:
            break
    return Calibration(bonuses, tried)


def _balanced(
    ranked: tuple[Ranked, ...],
    cold_share: float,
    few_share: float,
    hide_cold: bool,
    seed: int,
    counted: np.ndarray | None,
) -> tuple[float, float]:
    """Computes the bonuses of bin 0 and of items with few clicks at which both kinds of items fill their shares."""
    others, few, cold = ranked
    few_bonus, cold_bonus = 0.0, -np.inf if hide_cold else 0.0
    for _ in range(_ROUNDS if few_share else 1):
        if few_share:
            few_bonus = max(0.0, bonus_for_share(merge(others, cold, cold_bonus, seed), few, few_share))
        if not hide_cold:
            cold_bonus = bonus_for_share(merge(others, few, few_bonus, seed), cold, cold_share, counted)
    return cold_bonus, few_bonus


@dataclass(frozen=True)
class _BonusLoss:
    """Measures on validation what bonuses cost in Recall@20 and NDCG@20.

    Attributes:
      users: vectors of the sampled validation users, float32 [users, D].
      items: item vectors float32 [items, D], without bonuses.
      prepared: the prepared data.
      truth: sparse [users, items], the validation clicks of these users.
      seen: sparse [users, items], the training clicks of these users.
      seed, block: as in `top_n`.
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
    ) -> _BonusLoss:
        """Samples at most `most` users with a validation click and collects what the measurement needs."""
        validation_users = sample(users_with(prepared, columns.VAL), most, seed, nested=True)
        truth, seen = (read_clicks(prepared, split, validation_users) for split in (columns.VAL, columns.TRAIN))
        return cls(user_vectors[validation_users], items, prepared, truth, seen, seed, block)

    def sees(self, cold: np.ndarray) -> bool:
        """Returns whether validation can measure the benefit of listing cold items (bool [items]).

        Validation can if it has clicks on cold items. If the split has strictly cold items, it cannot: all clicks on
        them are in test, so every place that they fill would count as a loss.
        """
        hidden = self.prepared.catalogue[columns.IS_STRICTLY_COLD].any()
        return not hidden and bool(cold[self.truth.indices].any())

    def loss(self, bonuses: np.ndarray, on_progress: ProgressCallback | None = None) -> float:
        """Computes the relative loss of Recall@20 or of NDCG@20, whichever is larger, that bonuses cause.

        The loss is relative to lists without cold items and without bonuses.

        Args:
          bonuses: float32 [bins].
          on_progress: progress callback, which gets the number of users that are ranked.

        Returns:
          A fraction; negative where the lists with bonuses are better, 0 without users or without a hit.
        """
        if not len(self.users):
            return 0.0
        known, without = np.arange(len(self.items)) >= FIRST_ROW, self._without
        found = self._figures(with_bonuses(self.items, self.prepared, bonuses), known, on_progress)
        return max((1 - found[one] / without[one] for one in without if without[one]), default=0.0)

    @cached_property
    def _without(self) -> dict[str, float]:
        """The metrics of lists without cold items and without bonuses."""
        known = np.arange(len(self.items)) >= FIRST_ROW
        return self._figures(self.items, known & ~cold_bonus_items(self.prepared))

    def _figures(
        self, items: np.ndarray, candidates: np.ndarray, on_progress: ProgressCallback | None = None
    ) -> dict[str, float]:
        """Computes the mean Recall@20 and NDCG@20 of lists of the candidates (bool [items]), by name of the metric."""
        ranked = top_n(
            self.users,
            items,
            EXPOSED_AT,
            seen=self.seen,
            candidates=candidates,
            seed=self.seed,
            block=self.block,
            on_progress=on_progress,
        )
        found = per_user(ranked, self.truth, [EXPOSED_AT])
        return {one: float(found[one].mean()) for one in (name(RECALL, EXPOSED_AT), name(NDCG, EXPOSED_AT))}


def by_clicks(prepared: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divides the known items by their clicks (or views).

    Returns:
      Three masks, bool [items] each: items with many, with few, and without clicks. The reserved rows are in none.
    """
    known, few = np.arange(len(prepared.items)) >= FIRST_ROW, few_bins(prepared.popularity)[prepared.bins]
    cold = cold_bonus_items(prepared)
    return known & ~few & ~cold, known & few, cold


def catalogue_share(cold: np.ndarray) -> float:
    """Returns the share of cold items in the catalogue, at most MOST_COLD_SHARE.

    With exposure.cold_share=catalogue it is their share of the places.

    Args:
      cold: bool [items], reserved rows included.
    """
    return min(MOST_COLD_SHARE, float(cold[FIRST_ROW:].mean())) if len(cold) > FIRST_ROW else 0.0
