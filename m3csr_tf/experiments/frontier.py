"""Computes the cold-item frontier: what each share of cold items in the lists costs and gives.

The control replaces the cold items by random ones. Items of few clicks have the bonus that goes with each share, as in
a release; at "trained", where nothing is added, they have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.table import Table
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import read_clicks
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation import metrics
from m3csr_tf.evaluation.cold_items import items_then
from m3csr_tf.evaluation.report import ALL, COLD, WARM, Evaluation, Slice
from m3csr_tf.evaluation.significance import compare
from m3csr_tf.evaluation.user_draw import drawn_users
from m3csr_tf.exposure import EXPOSED_AT, Ranked, by_clicks, calibrate, merge, ranked_by_kind
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.full_ranking import Csr, top_n
from m3csr_tf.util.files import replacing
from m3csr_tf.util.progress import ProgressCallback

SHARES: tuple[Literal["catalogue", "trained"] | float, ...] = (
    "trained",
    "catalogue",
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
)
HIDDEN = "hidden"
"""The name of the point at which no cold item is listed; the other items compete for the places as always."""
TABLE_FILE, PLOT_FILE = "frontier.csv", "frontier.png"

RECALL, NDCG = metrics.name(metrics.RECALL, EXPOSED_AT), metrics.name(metrics.NDCG, EXPOSED_AT)
_SLICES = (ALL, WARM, COLD)


@dataclass(frozen=True)
class Point:
    """The lists at one share of cold items.

    Attributes:
      share: the share of the top-20 places that was asked for, as in `exposure.cold_share`, or "hidden".
      bonus: what is added to the scores of cold items; None where they are hidden.
      few_bonus: what is added to the scores of items with few clicks.
      cold_share, few_share: the shares of the places that cold items, and items with few clicks, take for the evaluated
        users.
      recall, ndcg: slice -> Recall@20 and NDCG@20; slices without truth are left out.
      random_cold_recall: cold recall with random cold items in the places of cold items; None without cold truth.
      p_value: the p-value of the paired test of the cold recall against random_cold_recall; None without cold truth.
    """

    share: str
    bonus: float | None
    few_bonus: float
    cold_share: float
    few_share: float
    recall: dict[str, float]
    ndcg: dict[str, float]
    random_cold_recall: float | None
    p_value: float | None


def frontier(
    prepared: Prepared,
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    split: str,
    config: Config,
    shares: Sequence[Literal["catalogue", "trained"] | float] = SHARES,
    on_progress: ProgressCallback | None = None,
) -> list[Point]:
    """Returns a point at which cold items are hidden, and one for each share.

    The bonus of a share is calibrated as for a release, on users with a training click; its effect is measured on the
    users of `split`. The control keeps a user's other items, and fills the places of her cold items with random cold
    items.

    Args:
      prepared: the prepared data of the run.
      user_vectors, item_vectors: by row, float32 [users, D] and [items, D], without a bonus.
      split: "val" or "test".
      config: the settings of exposure and evaluation, and the seed.
      shares: shares of cold items, as in `exposure.cold_share`.
      on_progress: is called with the number of points that are found, and their total.

    Raises:
      InputError: the split has no interactions.
    """
    seed, block = config.run.seed, config.evaluation.block
    users, _ = drawn_users(prepared, split, config.evaluation)
    if not len(users):
        raise InputError(f"{prepared.folder}: the {split} split is empty; a frontier needs clicks to judge by")
    seen = read_clicks(prepared, columns.TRAIN, users)
    truth = read_clicks(prepared, split, users, config.evaluation.kinds)
    kinds = by_clicks(prepared)
    then = items_then(prepared, split, config.cold)
    cold = kinds[-1] if then is None else then.cold
    at_training = items_then(prepared, columns.VAL, config.cold)

    def ranked(some: Sequence[np.ndarray]) -> tuple[Ranked, ...]:
        return ranked_by_kind(user_vectors[users], item_vectors, some, EXPOSED_AT, seen=seen, seed=seed, block=block)

    lists = ranked(kinds)
    # Cold items by age and views are in all kinds, so that lists without them are ranked apart.
    lists_without = lists if then is None else ranked([kind & ~cold for kind in kinds])
    at_random = top_n(
        np.zeros((len(users), 1), np.float32),
        np.zeros((len(prepared.items), 1), np.float32),
        EXPOSED_AT,
        seen=seen,
        candidates=cold,
        seed=seed,
        block=block,
    )
    evaluator = _FrontierEvaluator(users, truth, kinds, cold, at_random, seed)
    found = itertools.count(1)

    def point(name: str, share: Any, hide_cold: bool = False) -> Point:
        settings = config.exposure.model_copy(update={"cold_share": share})
        bonuses = calibrate(
            prepared,
            user_vectors,
            item_vectors,
            settings,
            seed,
            block,
            hide_cold,
            cold=None if at_training is None else at_training.cold,
        ).bonuses
        point = evaluator.point(name, float(bonuses[0]), float(bonuses[1]), lists_without if hide_cold else lists)
        if on_progress is not None:
            on_progress(next(found), 1 + len(shares))
        return point

    names = [share if isinstance(share, str) else f"{share:g}" for share in shares]
    hidden = point(HIDDEN, "catalogue", hide_cold=True)
    return [hidden, *(point(name, share) for name, share in zip(names, shares, strict=True))]


@dataclass(frozen=True)
class _FrontierEvaluator:
    """What all points of a frontier have in common.

    Attributes:
      users: int [users].
      truth: [users, items].
      kinds: bool [items] each, as `exposure.by_clicks`.
      cold: bool [items], which are cold; the last of the kinds, unless section `cold` says otherwise.
      at_random: random cold items, int32 [users, n].
      seed: the seed of the order of ties.
    """

    users: np.ndarray
    truth: Csr
    kinds: tuple[np.ndarray, np.ndarray, np.ndarray]
    cold: np.ndarray
    at_random: np.ndarray
    seed: int

    def point(self, share: str, bonus: float, few_bonus: float, ranked: tuple[Ranked, ...]) -> Point:
        """The lists with bonuses, judged; ranked are the items of each kind."""
        others, few, new = ranked
        lists = merge(merge(others, few, few_bonus, self.seed), new, bonus, self.seed).items
        found = {name: self._slice(lists, name) for name in _SLICES}
        found = {name: part for name, part in found.items() if len(part.users)}
        random_recall = p_value = None
        if COLD in found:
            control = self._slice(replaced(lists, self.cold, self.at_random), COLD)
            random_recall = control.mean(RECALL)
            if len(control.users) > 1:
                p_value = compare(Evaluation(found), Evaluation({COLD: control}), RECALL, COLD).p_value
        listed = lists[lists != NO_ITEM]
        few_share, cold_share = (
            float(kind[listed].mean()) if len(listed) else 0.0 for kind in (self.kinds[1], self.cold)
        )
        return Point(
            share,
            None if np.isneginf(bonus) else bonus,
            few_bonus,
            cold_share,
            few_share,
            {name: part.mean(RECALL) for name, part in found.items()},
            {name: part.mean(NDCG) for name, part in found.items()},
            random_recall,
            p_value,
        )

    def _slice(self, lists: np.ndarray, name: str) -> Slice:
        known = np.logical_or.reduce(self.kinds)
        items = {ALL: known, WARM: known & ~self.cold, COLD: self.cold}[name]
        truth = sparse.csr_array(self.truth, copy=True)
        truth.data = truth.data * items[truth.indices]
        truth.eliminate_zeros()
        some = np.diff(truth.indptr) > 0
        values = metrics.per_user(lists[some], truth[some], [EXPOSED_AT]) if some.any() else {}
        return Slice(self.users[some], values)


def replaced(lists: np.ndarray, cold: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Replaces the cold items of lists, in their order, by the user's `others`.

    Args:
      lists: item rows int32 [users, n], -1 beyond the end of a list.
      cold: bool [items].
      others: item rows int32 [users, n], as many as a list can hold cold items.
    """
    is_cold = cold[lists] & (lists != NO_ITEM)
    return np.where(is_cold, np.take_along_axis(others, np.maximum(np.cumsum(is_cold, axis=1) - 1, 0), axis=1), lists)


def tables(points: Sequence[Point], split: str) -> tuple[Table, Table]:
    """Returns two tables with a row for each point: who takes the places, and the metrics of the lists."""
    slices = [name for name in _SLICES if name in points[0].recall]
    title = f"{split}: lists of {EXPOSED_AT} by the share of items without a click"
    table = Table("share", title=title, title_justify="left")
    for heading in ("bonus", "cold places", "few-click\nplaces", "random cold\nRecall", "p"):
        table.add_column(heading, justify="right")
    headings = [f"{metric}\n{name}" for metric in (f"Recall@{EXPOSED_AT}", f"NDCG@{EXPOSED_AT}") for name in slices]
    worth = Table("share")
    for heading in headings:
        worth.add_column(heading, justify="right")
    for point in points:
        table.add_row(
            point.share,
            "" if point.bonus is None else f"{point.bonus:.3f}",
            f"{point.cold_share:.4f}",
            f"{point.few_share:.4f}",
            "" if point.random_cold_recall is None else f"{point.random_cold_recall:.4f}",
            "" if point.p_value is None else f"{point.p_value:.1e}",
        )
        worth.add_row(point.share, *(f"{of[name]:.4f}" for of in (point.recall, point.ndcg) for name in slices))
    return table, worth


def write(folder: Path, points: Sequence[Point]) -> tuple[Path, Path]:
    """Writes frontier.csv, with a row for each point, and frontier.png into `folder`; returns their paths."""
    from matplotlib.figure import Figure

    rows = pd.json_normalize([asdict(point) for point in points])
    with replacing(folder / TABLE_FILE) as temporary:
        rows.to_csv(temporary, index=False)

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    shares = [100 * point.cold_share for point in points]
    for axes, name in zip(figure.subplots(1, 3), _SLICES, strict=True):
        if name in points[0].recall:
            axes.plot(shares, [point.recall[name] for point in points], marker="o", markersize=3, label="model")
        if name == COLD and points[0].random_cold_recall is not None:
            control_recalls = [np.nan if one.random_cold_recall is None else one.random_cold_recall for one in points]
            axes.plot(shares, control_recalls, linestyle="--", color="grey", label="random cold items")
            axes.legend()
        axes.set_title(name)
        axes.set_xlabel("% of places to cold items")
        axes.set_ylabel(f"Recall@{EXPOSED_AT}")
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    with replacing(folder / PLOT_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return folder / TABLE_FILE, folder / PLOT_FILE
