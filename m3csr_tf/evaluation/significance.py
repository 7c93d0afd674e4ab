"""Tests whether one system is better than another, by a paired test on the same users."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from m3csr_tf.evaluation.report import ALL, Evaluation, Slice


@dataclass(frozen=True)
class PairedTest:
    """The result of a paired test of the first system against the second, over the users of both.

    Attributes:
      metric, slice_name: what was compared.
      users: number of users.
      first, second: the means of the two systems.
      difference: first - second.
      low, high: ends of the 95% confidence interval of the difference.
      p_value: two-sided; the probability of so large a difference if both systems were equally good.
    """

    metric: str
    slice_name: str
    users: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def compare(
    first: Evaluation,
    second: Evaluation,
    metric: str = "recall@20",
    slice_name: str = ALL,
    confidence: float = 0.95,
) -> PairedTest:
    """Student's paired t-test on the differences of the users.

    It tests the difference of means, which is what is reported, gives an interval in the unit of the metric, and is
    valid for hundreds of users or more, however skewed the metric is. Wilcoxon's signed-rank test asks another question
    (a symmetric shift), and drops users on whom both systems agree, which is nearly all users if most have no hit. A
    paired bootstrap gives the same interval at these sizes, but costs resamples.

    Raises:
      ValueError: the users differ, there are fewer than two, or the slice or metric is not in both evaluations.
    """
    for evaluation in (first, second):
        if slice_name not in evaluation.slices or metric not in evaluation[slice_name].values:
            raise ValueError(
                f"{metric} of slice {slice_name} is not in both evaluations; use the same settings for both"
            )
    one, other = first[slice_name], second[slice_name]
    if not np.array_equal(one.users, other.users):
        raise ValueError(
            f"slice {slice_name}: the {len(one.users)} users of the first evaluation and the {len(other.users)} of the "
            "second are not the same; evaluate both on the same truth and training clicks"
        )
    if len(one.users) < 2:
        raise ValueError(f"slice {slice_name} has {len(one.users)} user; a paired test needs at least two")
    differences = one.values[metric] - other.values[metric]
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # All differences are equal, so the t statistic is undefined.
        low = high = mean
        p_value = 1.0 if mean == 0 else 0.0
    else:
        result = stats.ttest_1samp(differences, 0.0)
        low, high = (float(end) for end in result.confidence_interval(confidence))
        p_value = float(result.pvalue)
    return PairedTest(
        metric, slice_name, len(differences), one.mean(metric), other.mean(metric), mean, low, high, p_value
    )


def on_common_users(first: Evaluation, second: Evaluation, slice_name: str = ALL) -> tuple[Evaluation, Evaluation]:
    """One slice of both evaluations, on the users that both have, so that `compare` takes them.

    Users are the rows of one prepared folder, and both evaluations judge them by the same held-out clicks.

    Raises:
      ValueError: an evaluation lacks the slice.
    """
    if slice_name not in first.slices or slice_name not in second.slices:
        raise ValueError(f"slice {slice_name} is not in both evaluations")
    common = np.intersect1d(first[slice_name].users, second[slice_name].users)
    one, other = (Evaluation({slice_name: _of_users(evaluation[slice_name], common)}) for evaluation in (first, second))
    return one, other


def _of_users(part: Slice, users: np.ndarray) -> Slice:
    places = np.flatnonzero(np.isin(part.users, users))
    places = places[np.argsort(part.users[places], kind="stable")]
    values = {metric: of_users[places] for metric, of_users in part.values.items()}
    return replace(part, users=part.users[places], values=values, intervals={}, shares={}, of=None)
