"""One system trained with several seeds: means, spreads, and a fair comparison with systems that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.evaluation.significance import compare


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of a system whose metric for a user is its mean over the seeds.

    Raises:
      ValueError: the evaluations are of different users.
    """
    slices = {}
    for name, first in evaluations[0].slices.items():
        parts = [evaluation[name] for evaluation in evaluations]
        if any(not np.array_equal(part.users, first.users) for part in parts):
            raise ValueError(f"slice {name} has other users in some seeds; all seeds must share the data and its split")
        slices[name] = Slice(
            first.users, {metric: np.mean([part.values[metric] for part in parts], axis=0) for metric in first.values}
        )
    return Evaluation(slices)


def summarise(
    of_seeds: Sequence[Evaluation], rivals: Mapping[str, Evaluation], metrics: Sequence[str] = ("recall@20", "ndcg@20")
) -> dict[str, Any]:
    """Mean and standard deviation over seeds, a slice and metric each, and the paired difference to each rival.

    The test pairs users: a user's metric, averaged over the seeds, against the rival's for the same user.

    Args:
      of_seeds: the system's evaluation for each seed.
      rivals: name -> evaluation on the same users.
      metrics: which to report.

    Returns:
      slice -> metric -> {"mean", "sd", "seeds": [one a seed], "users", "rivals": {name: {"mean", "difference", "low",
      "high", "p"}}}; slices without users are left out.
    """
    averaged = average(of_seeds)
    tree: dict[str, Any] = {}
    for name, part in averaged.slices.items():
        if not len(part.users):
            continue
        tree[name] = {}
        for metric in metrics:
            means = [evaluation[name].mean(metric) for evaluation in of_seeds]
            tests = {rival: compare(averaged, evaluation, metric, name) for rival, evaluation in rivals.items()}
            tree[name][metric] = {
                "mean": float(np.mean(means)),
                "sd": float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
                "seeds": means,
                "users": len(part.users),
                "rivals": {
                    rival: {
                        "mean": test.second,
                        "difference": test.difference,
                        "low": test.low,
                        "high": test.high,
                        "p": test.p_value,
                    }
                    for rival, test in tests.items()
                },
            }
    return tree
