"""One system trained with several seeds: means, spreads, and a fair comparison with systems without seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from m3csr_tf.evaluation import metrics as names
from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.evaluation.significance import compare


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Returns the evaluation of a system in which the metric of a user is its mean over the seeds.

    Raises:
      ValueError: the evaluations have different users.
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


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Returns a figure of one system over its seeds.

    Returns:
      {"mean", "sd", "seeds": the values}; "sd" is the sample standard deviation, or None for a single seed, which has
      none.
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "seeds": list(values)}


def plus_minus(value: float | None, error: float | None) -> str:
    """Returns a figure and its error for a table; "-" for a missing figure."""
    if value is None:
        return "-"
    return f"{value:.4f}" if error is None else f"{value:.4f} +- {error:.4f}"


def summarise(
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Evaluation],
    metrics: Sequence[str] = ("recall@20", "ndcg@20"),
) -> dict[str, Any]:
    """Returns mean and standard deviation over seeds by slice and metric, and the difference to each baseline.

    The test pairs users: a user's metric, averaged over the seeds, is compared with that of the baseline.

    Args:
      evaluations: the evaluations of the system, one for each seed.
      baselines: name -> evaluation on the same users.
      metrics: the metrics to report.

    Returns:
      slice -> metric -> {"mean", "sd", "seeds": [one for each seed], "users", "baselines": {name: {"mean",
      "difference", "low", "high", "p"}}}; "sd" is None for a single seed, and slices without users are left out.
    """
    averaged = average(evaluations)
    tree: dict[str, Any] = {}
    for name, part in averaged.slices.items():
        if not len(part.users):
            continue
        tree[name] = {}
        for metric in metrics:
            found = over_seeds([evaluation[name].mean(metric) for evaluation in evaluations])
            tests = {
                baseline: compare(averaged, evaluation, metric, name) for baseline, evaluation in baselines.items()
            }
            tree[name][metric] = found | {
                "users": len(part.users),
                "baselines": {
                    baseline: {
                        "mean": test.second,
                        "difference": test.difference,
                        "low": test.low,
                        "high": test.high,
                        "p": test.p_value,
                    }
                    for baseline, test in tests.items()
                },
            }
    return tree


def best_baseline(figures: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str | None:
    """Returns the baseline with the highest mean; None if there is none.

    Args:
      figures: the figures of a slice and metric, as `summarise` returns them.
      leave_out: names of systems that do not count as baselines, such as a ceiling.
    """
    baselines = {name: baseline["mean"] for name, baseline in figures["baselines"].items() if name not in leave_out}
    return max(baselines, key=lambda name: baselines[name]) if baselines else None


def against_best(summary: Mapping[str, Any], system: str, seeds: int, leave_out: Sequence[str] = ()) -> Table:
    """Returns a table of the system beside the best baseline, with a block for each metric and a row for each slice.

    A row has the system's mean and spread, the best baseline, the ratio of both means, and the p-value.
    """
    title = "test, mean +- standard deviation over seeds; p: paired t-test over users"
    table = Table("slice", f"{system}, {seeds} seeds", title=title, title_justify="left")
    table.add_column("best baseline", no_wrap=True)
    for heading in ("its mean", "ratio", "p"):
        table.add_column(heading, justify="right")
    for metric in _metrics(summary):
        table.add_section()
        table.add_row(metric)
        for slice_name, figures_by_metric in summary.items():
            figures = figures_by_metric[metric]
            row = [slice_name, plus_minus(figures["mean"], figures["sd"])]
            best = best_baseline(figures, leave_out)
            if best is not None:
                baseline = figures["baselines"][best]
                ratio = f"{figures['mean'] / baseline['mean']:.2f}" if baseline["mean"] else "-"
                row += [best, f"{baseline['mean']:.4f}", ratio, f"{baseline['p']:.1e}"]
            table.add_row(*row)
    return table


def by_system(summary: Mapping[str, Any], system: str, at: int = 20) -> Table:
    """Returns a table of recall and NDCG at `at`: a block for each, a row for each system, a column for each slice."""
    recall, ndcg = names.name(names.RECALL, at), names.name(names.NDCG, at)
    table = Table("system", title="test, means over users", title_justify="left")
    baselines: list[str] = []
    for slice_name, figures_by_metric in summary.items():
        table.add_column(slice_name, justify="right")
        baselines += [name for name in figures_by_metric[recall]["baselines"] if name not in baselines]
    for metric in (recall, ndcg):
        table.add_section()
        table.add_row(metric)
        for name in (system, *baselines):
            slices = (figures_by_metric[metric] for figures_by_metric in summary.values())
            found = (figures if name == system else figures["baselines"][name] for figures in slices)
            table.add_row(name, *(f"{one['mean']:.4f}" for one in found))
    return table


def _metrics(summary: Mapping[str, Any]) -> list[str]:
    return list(next(iter(summary.values()), {}))
