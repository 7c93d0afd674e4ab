"""Computes the numbers of a cell: means and spreads over seeds, paired tests over users, and statistics of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.report import ALL, COLD, COLD_ONLY, FEW, WARM, Evaluation
from m3csr_tf.evaluation.significance import compare
from m3csr_tf.experiments.comparison.gathering import SHARES, Run, SystemRuns
from m3csr_tf.experiments.spread import average, over_seeds

SLICES = (ALL, WARM, FEW, COLD, COLD_ONLY)
METRICS = ("recall@20", "precision@20", "ndcg@20")


def statistics(prepared: Prepared) -> dict[str, Any]:
    """Returns the statistics of the data in Table 1, and those of the split."""
    counts = prepared.manifest["counts"]
    clicks = {name: int(counts[f"{name}_interactions"]) for name in columns.SPLITS}
    cells = counts["users"] * counts["items"]
    return {
        "users": counts["users"],
        "items": counts["items"],
        "interactions": sum(clicks.values()),
        "density": sum(clicks.values()) / cells,
        **{f"{name}_interactions": count for name, count in clicks.items()},
        "cold_items": counts["cold_items"],
        "strictly_cold_items": counts["strictly_cold_items"],
        "modalities": {name: int(prepared.content[name].shape[1]) for name in prepared.modalities},
    }


def of_system(system: SystemRuns) -> dict[str, Any]:
    """Returns the figures of a system over its seeds: on test and validation, of its lists, and its cost.

    Returns:
      {"seeds": [...], "test" and "validation": {slice: {metric: {"mean", "sd", "seeds", "users"}}}, "lists": {figure:
      {"mean", "sd", "seeds"}}, "cost": {...}}; slices without users and figures that a run lacks are left out, and sd
      is None for a single seed.
    """
    found = system.runs
    return {
        "seeds": [run.seed for run in found],
        "test": _slices([run.test for run in found]),
        "validation": _slices([run.validation for run in found]),
        "lists": {
            figure: over_seeds([run.figures[figure] for run in found])
            for figure in SHARES
            if all(figure in run.figures for run in found)
        },
        "cost": _cost(found),
    }


def _slices(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    first = evaluations[0]
    return {
        name: {
            metric: over_seeds([one[name].mean(metric) for one in evaluations]) | {"users": len(first[name].users)}
            for metric in METRICS
        }
        for name in SLICES
        if name in first.slices and len(first[name].users)
    }


def _cost(found: Sequence[Run]) -> dict[str, Any]:
    """Returns the time and memory of the runs, averaged over the seeds; peaks are the largest."""
    cost: dict[str, Any] = {
        "process_seconds": _of_process(found, "seconds"),
        "cpu_seconds": _of_process(found, "cpu_seconds"),
        "peak_gib": max(run.peak_gib for run in found),
    }
    if all(run.finished for run in found):
        cost["training_seconds"] = float(np.mean([run.finished["training_seconds"] for run in found]))
        cost["steps"] = [run.finished["steps"] for run in found]
        cost["best_steps"] = [run.finished["best_step"] for run in found]
        speeds = [run.examples_per_second for run in found]
        cost["examples_per_second"] = float(np.mean([speed for speed in speeds if speed is not None] or [np.nan]))
        if np.isnan(cost["examples_per_second"]):
            cost["examples_per_second"] = None
    return cost


def _of_process(found: Sequence[Run], what: str) -> float:
    return float(np.mean([sum(verb[what] for verb in run.verbs.values()) for run in found]))


def tests_against(ours: SystemRuns, other: SystemRuns) -> dict[str, Any]:
    """Tests ours against another system over their common users, each with her metric averaged over the seeds.

    Returns:
      slice -> metric -> {"difference", "low", "high", "p"} of ours minus the other, by a paired t-test; slices of fewer
      than two users are left out.

    Raises:
      ValueError: the users differ.
    """
    one, two = average(ours.tests), average(other.tests)
    tree: dict[str, Any] = {}
    for name in SLICES:
        if name not in one.slices or name not in two.slices or len(one[name].users) < 2:
            continue
        tree[name] = {}
        for metric in METRICS:
            test = compare(one, two, metric, name)
            tree[name][metric] = {
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "p": test.p_value,
            }
    return tree


def best_rivals(systems: Mapping[str, Mapping[str, Any]], ours: str, leave_out: Sequence[str]) -> dict[str, Any]:
    """Returns slice -> metric -> the best rival: the system with the highest mean on test.

    Args:
      systems: name -> the result of `of_system`.
      ours: the name of ours, which is no rival.
      leave_out: names of other systems that are no rivals, e.g. of a ceiling.
    """
    rivals = {name: tree for name, tree in systems.items() if name != ours and name not in leave_out}
    found: dict[str, Any] = {}
    for name in SLICES:
        trees = {rival: tree["test"][name] for rival, tree in rivals.items() if name in tree["test"]}
        if trees:
            found[name] = {metric: max(trees, key=lambda rival: trees[rival][metric]["mean"]) for metric in METRICS}
    return found
