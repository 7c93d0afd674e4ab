"""Evaluates a system by a full ranking, over all held-out clicks and over slices of warm, cold and rare items.

| slice | ranked | truth | users |
| --- | --- | --- | --- |
| all | all items | all held-out clicks | with any of this truth |
| warm / cold | all items | clicks on items with / without a training click | with any of this truth |
| few | all items | clicks on items with 1 to 4 training clicks | with any of this truth |
| tail | all items | clicks on items with 0 to 4 training clicks | with any of this truth |
| cold_only | only the cold items | clicks on these items | with any of this truth, even without a training click |
| age_... | all items | clicks on items of an age (`cold_items`) | with any of this truth |
| kind_NAME | all items | clicks of this kind, where the data tell several apart | with any of this truth |

Slices by age are there if section `cold` is set, which then says what is warm and cold in place of training clicks.
With `evaluation.kinds` only held-out clicks of those kinds are truth, in all slices. Where clicks differ in weight, the
metrics include those that count weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import ColdConfig, EvaluationConfig
from m3csr_tf.data.audience import read_clicks
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation import lists, metrics
from m3csr_tf.evaluation.cold_items import ItemsThen, items_then
from m3csr_tf.evaluation.lists import ByItem
from m3csr_tf.evaluation.truth import Truth
from m3csr_tf.evaluation.user_draw import drawn_users
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking import full_ranking as ranking
from m3csr_tf.ranking.full_ranking import Csr, Matrix
from m3csr_tf.util import files
from m3csr_tf.util.progress import progress

ALL, WARM, COLD, FEW, TAIL, COLD_ONLY = "all", "warm", "cold", "few", "tail", "cold_only"
KIND_PREFIX = "kind_"
"""What the names of the slices of kinds begin with."""
COVERAGE_AT = 20
"""Length of the lists whose coverage is reported."""
FEW_CLICKS = 4
"""Largest number of training clicks of an item in the slices `few` and `tail`."""


@dataclass(frozen=True)
class Slice:
    """The metrics of some users on some of the held-out clicks.

    Attributes:
      users: user rows int [users].
      values: metric -> float64 [users].
      intervals: metric -> the two ends of the 95% interval of its mean; empty without a bootstrap.
      shares: metrics of the lists as a whole, e.g. coverage.
      of: for the slice "all" of a split, the number of users from whom `users` were sampled; otherwise None.
    """

    users: np.ndarray
    values: dict[str, np.ndarray]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    of: int | None = None

    def mean(self, metric: str) -> float:
        """Returns the mean over the users, NaN if there are none."""
        return float(self.values[metric].mean()) if len(self.users) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Returns means, users, shares and intervals as plain numbers, `{"users": 0}` if there are no users."""
        if not len(self.users):
            return {"users": 0}
        tree: dict[str, Any] = {metric: self.mean(metric) for metric in self.values}
        tree |= {"users": len(self.users), **({} if self.of is None else {"of": self.of}), **self.shares}
        if self.intervals:
            tree["ci"] = {metric: list(ends) for metric, ends in self.intervals.items()}
        return tree


@dataclass(frozen=True)
class Evaluation:
    """All slices of one system on one set of interactions.

    Attributes:
      slices: name -> slice.
      by_item: counts by item over the lists of the slice "all"; None if they are not available.
    """

    slices: dict[str, Slice]
    by_item: ByItem | None = None

    def __getitem__(self, name: str) -> Slice:
        """Returns the slice of that name."""
        return self.slices[name]

    def to_json(self) -> dict[str, Any]:
        """Returns the part of metrics.json that belongs to one split: slice -> its metrics."""
        return {name: part.to_json() for name, part in self.slices.items()}


def evaluate_split(
    prepared: Prepared,
    user_vectors: Any,
    item_vectors: Matrix,
    split: str,
    config: EvaluationConfig,
    seed: int = 0,
    on_progress: Callable[[int, int | None], None] | None = None,
    cold: ColdConfig | None = None,
) -> Evaluation:
    """Calls `evaluate` on "val" or "test" of a prepared folder, for all users of the split or a sample (`drawn_users`).

    `user_vectors` may be anything whose `user_vectors[rows]` gives the vectors of some users, float32 [n, dim]. The
    slice `cold_only` ranks the strictly cold items, if there are any, and on "val" the pseudo-cold items if the split
    has some. The slice "all" records how many users the sample was drawn from. `on_progress` gets the number of users
    that are ranked and the number of all of them.
    """
    users, of = drawn_users(prepared, split, config)
    then = items_then(prepared, split, cold or ColdConfig())
    truth = Truth.read(prepared, split, users, config.kinds)
    evaluation = evaluate(
        user_vectors[users],
        item_vectors,
        truth=truth.clicks,
        by_kind=truth.by_kind,
        weighted=truth.weighted,
        seen=read_clicks(prepared, columns.TRAIN, users),
        train_clicks=prepared.train_clicks,
        user_rows=users,
        top_n=config.top_n,
        seed=seed,
        block=config.block,
        bootstrap=config.bootstrap,
        cold_only_items=items_ranked_alone(prepared, split, then),
        then=then,
        on_progress=on_progress,
    )
    return drawn_from(evaluation, of)


def items_ranked_alone(prepared: Prepared, split: str, then: ItemsThen | None = None) -> np.ndarray:
    """What `cold_only` ranks on a split, bool [items]; the cold items where none is marked."""
    pseudo = split == columns.VAL and prepared.catalogue[columns.IS_PSEUDO_COLD].any()
    marked = prepared.catalogue[columns.IS_PSEUDO_COLD if pseudo else columns.IS_STRICTLY_COLD].to_numpy(bool)
    alone = np.concatenate([np.zeros(FIRST_ROW, bool), marked])
    return alone if alone.any() else prepared.train_clicks == 0 if then is None else then.cold


def drawn_from(evaluation: Evaluation, of: int) -> Evaluation:
    """The evaluation, whose slice "all" says of how many users the judged ones were drawn."""
    return replace(evaluation, slices=evaluation.slices | {ALL: replace(evaluation[ALL], of=of)})


def evaluate(
    user_vectors: Matrix,
    item_vectors: Matrix,
    *,
    truth: Csr,
    seen: Csr,
    by_kind: Mapping[str, Csr] | None = None,
    weighted: bool = False,
    train_clicks: np.ndarray | None = None,
    user_rows: np.ndarray | None = None,
    top_n: Sequence[int] = (10, 20, 50),
    seed: int = 0,
    block: int = 1024,
    bootstrap: int = 1000,
    cold_only: bool = True,
    cold_only_items: np.ndarray | None = None,
    then: ItemsThen | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Evaluation:
    """Ranks all items except her training clicks for every user with held-out clicks, and evaluates the slices.

    Args:
      user_vectors: float32 [users, dim], by user row.
      item_vectors: float32 [items, dim], by item row, including the reserved rows; sparse if `user_vectors` are.
      truth: held-out clicks of the users, [users, items]; every non-zero entry counts.
      seen: training clicks, [users, items].
      by_kind: kind -> the part of `truth` that is of this kind.
      weighted: whether entries of `truth` and `by_kind` are weights, which metrics count then.
      train_clicks: training clicks of each item by all users, int [items]; None counts them in `seen`.
      user_rows: identifies the users in the slices, int [users]; None takes their positions.
      top_n: list lengths of the metrics.
      seed: seed of tie-breaking and of the bootstrap.
      block: number of users that are ranked at once.
      bootstrap: number of resamples for the intervals; 0 leaves them out.
      cold_only: whether to rank the cold items alone as well.
      cold_only_items: bool [items], the items that `cold_only` ranks; None takes the items without a training click.
        With a strictly cold split these are the items of the split, because other items that happen to have no click
        are not meant.
      then: which items are cold, and their ages; None takes the items without a training click, and no ages.
      on_progress: progress callback, called by several threads, which gets the number of users for whom all items are
        ranked and the number of all users.

    Raises:
      ValueError: shapes do not fit, or the vectors are not finite (because the model has diverged).
    """
    shape = (user_vectors.shape[0], item_vectors.shape[0])
    if truth.shape != shape or seen.shape != shape:
        raise ValueError(
            f"truth {truth.shape} and seen {seen.shape} must have a row a user and a column an item, {shape}"
        )
    if cold_only_items is not None and (cold_only_items.shape != shape[1:] or cold_only_items.dtype != bool):
        raise ValueError(
            f"cold_only_items must be bool [{shape[1]}], got {cold_only_items.dtype} {list(cold_only_items.shape)}"
        )
    clicks = np.bincount(seen.nonzero()[1], minlength=shape[1]) if train_clicks is None else train_clicks
    rows = np.arange(shape[0]) if user_rows is None else user_rows
    judge = ListJudge(truth, rows, tuple(top_n), seed, bootstrap, by_kind or {}, weighted)

    def rank(candidates: np.ndarray, left_out: Csr | None, stage: Any) -> tuple[np.ndarray, np.ndarray]:
        users = judge.users(candidates)
        return users, ranking.top_n(
            user_vectors[users],
            item_vectors,
            judge.longest,
            seen=None if left_out is None else left_out[users],
            candidates=candidates,
            seed=seed,
            block=block,
            on_progress=stage,
        )

    known = np.arange(shape[1]) >= FIRST_ROW
    evaluation = judge.evaluation(*rank(known, seen, on_progress), clicks, then)
    if cold_only:
        alone = known & ((clicks == 0) if cold_only_items is None else cold_only_items)
        with progress("ranking new items alone, users") as stage:
            evaluation.slices[COLD_ONLY] = judge.slice(*rank(alone, None if then is None else seen, stage), alone)
    return evaluation


@dataclass(frozen=True)
class ListJudge:
    """Judges lists of items, whoever made them, by what their users went on to click.

    Attributes:
      truth: what the users went on to click, [users, items]; every non-zero entry counts.
      user_rows: int [users], what the slices call the users.
      at: list lengths of the metrics.
      seed: of the bootstrap.
      bootstrap: resamples of the intervals; 0 leaves them out.
      by_kind, weighted: as in `evaluate`.
    """

    truth: Csr
    user_rows: np.ndarray
    at: tuple[int, ...]
    seed: int
    bootstrap: int
    by_kind: Mapping[str, Csr] = field(default_factory=dict)
    weighted: bool = False

    @property
    def longest(self) -> int:
        """Places of a list that are looked at."""
        return max(*self.at, COVERAGE_AT)

    def users(self, items: np.ndarray) -> np.ndarray:
        """Users with truth among `items` (bool [items]), int [users], ascending."""
        return np.unique(self._truth_on(items).nonzero()[0])

    def evaluation(
        self, users: np.ndarray, ranked: np.ndarray, train_clicks: np.ndarray, then: ItemsThen | None = None
    ) -> Evaluation:
        """All slices but `cold_only` of the lists of `users`, int32 [users, longest].

        Args:
          users: int [users], each with truth.
          ranked: their lists of item rows, best first, NO_ITEM where a place is empty.
          train_clicks: int [items], which make an item warm or cold.
          then: which items are cold instead, and their ages.
        """
        known = np.arange(len(train_clicks)) >= FIRST_ROW
        cold = known & (train_clicks == 0) if then is None else then.cold
        parts = {
            ALL: known,
            WARM: known & ~cold,
            COLD: cold,
            FEW: known & (train_clicks > 0) & (train_clicks <= FEW_CLICKS),
            TAIL: known & (train_clicks <= FEW_CLICKS),
            **({} if then is None else then.ages),
        }
        slices = {}
        with progress("metrics of the lists, slices", len(parts) + len(self.by_kind)) as stage:
            for name, items in parts.items():
                slices[name] = self.slice(users, ranked, items)
                stage(len(slices))
            for kind, truth in self.by_kind.items():
                slices[KIND_PREFIX + kind] = self._of_truth(users, ranked, sparse.csr_array(truth)[users])
                stage(len(slices))
        shares = lists.shares(ranked[:, :COVERAGE_AT], known, cold, train_clicks)
        slices[ALL].shares.update({metrics.name(key, COVERAGE_AT): share for key, share in shares.items()})
        return Evaluation(slices, lists.by_item(ranked[:, :COVERAGE_AT], self.truth[users]))

    def slice(self, users: np.ndarray, ranked: np.ndarray, items: np.ndarray) -> Slice:
        """Evaluates the lists of `users` on their truth among `items` (bool [items]), for users who have any."""
        return self._of_truth(users, ranked, self._truth_on(items)[users])

    def _of_truth(self, users: np.ndarray, ranked: np.ndarray, truth: sparse.csr_array) -> Slice:
        some = np.diff(truth.indptr) > 0
        values = metrics.per_user(ranked[some], truth[some], self.at, self.weighted) if some.any() else {}
        ends = metrics.intervals(values, self.bootstrap, self.seed) if values and self.bootstrap else {}
        return Slice(self.user_rows[users[some]], values, ends)

    def _truth_on(self, items: np.ndarray) -> sparse.csr_array:
        truth = sparse.csr_array(self.truth, copy=True)
        truth.data = truth.data * items[truth.indices]
        truth.eliminate_zeros()
        return truth


def write_metrics(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes metrics.json, e.g. `{"test": evaluation.to_json(), "val": ...}`, replaced as a whole by renaming.

    Raises:
      RunError: the file cannot be written.
      ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    text = json.dumps(tree, indent=2, allow_nan=False) + "\n"
    try:
        files.write_text(Path(path), text)
    except OSError as error:
        raise RunError(f"{path}: cannot write the metrics ({error.strerror}); check the disk and its rights") from None
