"""Evaluates one recipe on a suite of data sets by its worst ratio to the best baseline of a data set and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from m3csr_tf.errors import InputError
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments.spread import best_baseline, plus_minus, summarise

METRICS = ("recall@20", "ndcg@20")
_TITLES = {"recall@20": "Recall@20", "ndcg@20": "NDCG@20"}
_SELECTED_BY = METRICS[0]


def summarise_member(
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Evaluation],
    slice_name: str,
    trainings: Sequence[Mapping[str, Any]],
    leave_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the figures of a recipe on one member of the suite.

    Args:
      evaluations: the evaluations of the recipe, one for each seed.
      baselines: name -> evaluation on the same users.
      slice_name: the slice that counts.
      trainings: finished.json of each seed's run.
      leave_out: names that do not count as baselines, such as a ceiling.

    Returns:
      {"metrics": {metric: {"mean", "sd", "seeds": [one for each seed], "users", "baselines": as in `spread.summarise`,
      "baseline", "baseline_mean", "ratio", "p"}}, "training": {"best_steps", "steps", "gains": [one for each seed]}}.
      sd is None for one seed. "baseline" is the best baseline of the metric, and the ratio is mean / baseline_mean; the
      four are None without a baseline, and the ratio also where the baseline has 0. A gain is the best validation
      Recall@20 minus that of the initial weights; it is None if a run did not validate its initial weights.

    Raises:
      InputError: the slice has fewer than two users, so that nothing can be paired.
    """
    users = len(evaluations[0][slice_name].users) if slice_name in evaluations[0].slices else 0
    if users < 2:
        raise InputError(
            f"the slice {slice_name} has {users} users with truth, and a comparison needs two; choose another slice, "
            "or give cold items to validation with split.pseudo_cold_share"
        )
    alone = [Evaluation({slice_name: evaluation[slice_name]}) for evaluation in evaluations]
    others = {name: Evaluation({slice_name: evaluation[slice_name]}) for name, evaluation in baselines.items()}
    metrics: dict[str, Any] = {}
    for metric, figures in summarise(alone, others, METRICS)[slice_name].items():
        best = best_baseline(figures, leave_out)
        baseline = None if best is None else figures["baselines"][best]
        metrics[metric] = figures | {
            "baseline": best,
            "baseline_mean": None if baseline is None else baseline["mean"],
            "ratio": figures["mean"] / baseline["mean"] if baseline is not None and baseline["mean"] else None,
            "p": None if baseline is None else baseline["p"],
        }
    training = {
        "best_steps": [one["best_step"] for one in trainings],
        "steps": [one["steps"] for one in trainings],
        "gains": [_gain(one) for one in trainings],
    }
    return {"metrics": metrics, "training": training}


def worst(members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the lowest ratio of all members and metrics, {"ratio", "member", "metric", "baseline"}, or None.

    Args:
      members: member -> the result of `summarise_member`; members without "metrics", which failed or were left out, do
        not count.
    """
    found = [
        {"ratio": figures["ratio"], "member": member, "metric": metric, "baseline": figures["baseline"]}
        for member, tree in members.items()
        for metric, figures in tree.get("metrics", {}).items()
        if figures["ratio"] is not None
    ]
    return min(found, key=lambda one: one["ratio"], default=None)


def in_words(found: Mapping[str, Any] | None) -> str:
    """Describes the result of `worst` in one line."""
    if found is None:
        return "worst ratio: none, since no member has a baseline to be compared with"
    metric = _TITLES[found["metric"]]
    where = f"{metric} of {found['member']}, where {found['baseline']} is the best baseline"
    return f"worst ratio: {found['ratio']:.3f}, {where}"


LEGEND = "mean +- sd over seeds; p: paired t-test over users; gain: best validation Recall@20 less the first"
"""Explains what all tables of members have in common."""


def table(member: str, tree: Mapping[str, Any]) -> Table:
    """Returns a table of a member's figures, with a row for each metric.

    The title says what was asked and how training went.

    Args:
      member: the name of the member.
      tree: the result of `summarise_member`, with "slice" and "split".
    """
    title = f"{member}, {tree['split']} {tree['slice']}; {_in_training(tree['training'])}"
    result = Table("metric", "ours", title=title, title_justify="left")
    result.add_column("best baseline", no_wrap=True)
    for heading in ("its mean", "ratio", "p"):
        result.add_column(heading, justify="right")
    for metric, figures in tree["metrics"].items():
        ours = plus_minus(figures["mean"], figures["sd"])
        baseline, mean = (
            ("-", "-") if figures["baseline"] is None else (figures["baseline"], f"{figures['baseline_mean']:.4f}")
        )
        ratio = "-" if figures["ratio"] is None else f"{figures['ratio']:.3f}"
        p = "-" if figures["p"] is None else f"{figures['p']:.1e}"
        result.add_row(metric, ours, baseline, mean, ratio, p)
    return result


def _in_training(training: Mapping[str, Sequence[Any]]) -> str:
    """Returns the steps of the best validations, the numbers of steps, and the mean gain, in words."""
    steps = sorted(set(training["steps"]))
    of = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,}-{steps[-1]:,}"
    gains = [gain for gain in training["gains"] if gain is not None]
    mean = f"{np.mean(gains):+.4f}" if gains else "-"
    return f"best steps {', '.join(f'{step:,}' for step in training['best_steps'])} of {of}, gain {mean}"


def _gain(finished: Mapping[str, Any]) -> float | None:
    initial = finished.get(f"initial_{_SELECTED_BY}")
    return None if initial is None else finished[_SELECTED_BY] - initial
