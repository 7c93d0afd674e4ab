"""The names of things in the report and the model card, and how both show a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3csr_tf.reports.document import Number
from m3csr_tf.reports.run_files import RunFiles

_SPLITS = {
    "random": "interactions split at random",
    "time": "interactions split by time",
    "given": "split as the data say",
}


def titled(system: str) -> str:
    """Returns the name of a baseline in tables."""
    return "truth (ceiling)" if system == "truth" else system


def chosen_by(finished: Mapping[str, Any]) -> tuple[str, str]:
    """The validation figure by which a run's weights were chosen, in words, and its value there."""
    by = str(finished.get("selected_by", "recall@20"))
    words = {"recall@20": "Recall@20", "weighted_recall@20": "Recall@20 by weight"}
    return words.get(by, by), f"{finished[by]:.4f}"


def describe_split(run: RunFiles) -> str:
    """Describes how the log was split, as part of a sentence."""
    kind = str(run.prepared.manifest["split"])
    return _SPLITS.get(kind, f"split by {kind}")


def figure_of(tree: Mapping[str, Any], metric: str, digits: int = 4) -> Number:
    """Returns a metric of a slice of metrics.json, with its interval if there is one."""
    return Number.of(tree.get(metric), digits, tree.get("ci", {}).get(metric))


def systems_of(run: RunFiles) -> dict[str, dict[str, Any]]:
    """Returns system -> slice -> figures on the test split, with the run's model first, then the baselines.

    Systems have their names in tables.
    """
    baselines = {titled(name): tree["test"] for name, tree in run.metrics["baselines"].items()}
    # A user-defined model may have the name of a baseline, and both are to be shown.
    model = f"{run.model} (model)" if run.model in baselines else run.model
    return {model: run.metrics["test"]} | baselines


def has_intervals(run: RunFiles) -> bool:
    """Returns whether the evaluation drew bootstrap intervals (`evaluation.bootstrap`)."""
    return bool(run.metrics["test"]["all"].get("ci"))
