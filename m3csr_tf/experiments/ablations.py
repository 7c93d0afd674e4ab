"""Measures what each component of the model contributes: the full model against the ablations of Table 3.

Both are evaluated on the same users. Two further comparisons need no training of their own: the trained full model
without the ids of users, and without their attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.config import Config, M3CSRConfig
from m3csr_tf.errors import ConfigError
from m3csr_tf.evaluation.report import ALL, COLD, COLD_ONLY, TAIL, WARM, Evaluation
from m3csr_tf.evaluation.significance import compare
from m3csr_tf.experiments.spread import average, over_seeds, plus_minus
from m3csr_tf.util.names import check_room

FULL = "full"
ABLATIONS = {
    "intensity": "w/o MIIL",
    "clusters": "w/o Cluster",
    "gate": "w/o Gate",
    "orthogonality": "w/o L_orth",
}
"""The setting of section model that an ablation switches off -> the name of the ablation in Table 3."""

USER_ID, ATTENTION = "user_id", "attention"
UNTRAINED = {USER_ID: "user id unknown", ATTENTION: "uniform attention"}
"""What is removed from the trained full model, without a training of its own -> its name in the table.

The id of a user acts through her attention alone, so what it contributes is part of what attention contributes.
"""

_READINGS = {
    "intensity": "lost with every user's intensities at their mean",
    "clusters": "the modalities' cluster halves together",
    "gate": "lost with delta at its mean over clicked items",
    "orthogonality": "no part of a score: it acts in training alone",
}

SLICES = (ALL, WARM, COLD, TAIL, COLD_ONLY)
METRICS = ("recall@20", "ndcg@20")


def variants(config: Config, count: int) -> dict[str, list[Config]]:
    """Returns the configurations of all runs: those of the full model and of each ablation, with seeds 0 to count - 1.

    Runs are called <name>-seed<k>, as the verb `seeds` calls them, and <name>-<ablation>-seed<k>.

    Returns:
      "full" and the ablations -> one configuration for each seed.

    Raises:
      ConfigError: the model is of another kind than M3CSR, count is below 1, `run.name` is too long for the names of
        the runs, or the full model lacks a component, so that an ablation would be the model itself.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, got {count}: the runs have seeds 0 to count - 1")
    if not isinstance(config.model, M3CSRConfig):
        raise ConfigError(
            f"{config.run.name} is of model.kind={config.model.kind}, and ablations take away parts of M3CSR alone; "
            "pipelines/experiment.py compares kinds of models"
        )
    absent = [f"model.{name}" for name in ABLATIONS if not getattr(config.m3csr, name)]
    if absent:
        raise ConfigError(
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} off, so there is nothing to take away; "
            "ablations start from the full model, with all four components on"
        )
    found = {variant: [_of_seed(config, variant, seed) for seed in range(count)] for variant in (FULL, *ABLATIONS)}
    longest = max((of_seed.run.name for of_seeds in found.values() for of_seed in of_seeds), key=len)
    check_room("run.name", len(config.run.name), longest)
    return found


def figures(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Returns the means over users of one system, over its seeds.

    Returns:
      slice -> metric -> {"mean", "sd", "seeds": [one for each seed], "users"}; sd is None for one seed, and slices
      without users are left out.
    """
    tree: dict[str, Any] = {}
    for name in _filled(evaluations[0]):
        tree[name] = {}
        for metric in METRICS:
            found = over_seeds([evaluation[name].mean(metric) for evaluation in evaluations])
            tree[name][metric] = found | {"users": len(evaluations[0][name].users)}
    return tree


def contributions(full: Sequence[Evaluation], ablated: Sequence[Evaluation]) -> dict[str, Any]:
    """Returns the difference between the full model and an ablated one, for each slice and metric.

    The interval and p are those over users, each with her metric averaged over the seeds (`significance.compare`). The
    standard error over seeds, of the differences of runs with the same seed, measures the other uncertainty: whether
    another training would give the same.

    Args:
      full, ablated: evaluations with seeds 0, 1, ..., in the same order and on the same users.

    Returns:
      slice -> metric -> {"difference", "low", "high", "p", "seeds": [one for each seed], "error"}; low, high and p are
      None for a single user, error for a single seed. Slices without users are left out.

    Raises:
      ValueError: the users or the numbers of seeds differ.
    """
    if len(full) != len(ablated):
        raise ValueError(f"the full model has {len(full)} seeds and the ablated one {len(ablated)}; pair them")
    one, other = average(full), average(ablated)
    tree: dict[str, Any] = {}
    for name in _filled(one):
        tree[name] = {}
        for metric in METRICS:
            pairs = [a[name].mean(metric) - b[name].mean(metric) for a, b in zip(full, ablated, strict=True)]
            found: dict[str, Any] = {"difference": float(np.mean(pairs)), "low": None, "high": None, "p": None}
            if len(one[name].users) > 1:
                test = compare(one, other, metric, name)
                found = {"difference": test.difference, "low": test.low, "high": test.high, "p": test.p_value}
            error = float(np.std(pairs, ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else None
            tree[name][metric] = found | {"seeds": pairs, "error": error}
    return tree


def variance_over_seeds(variances: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Returns the shares of variance of one system, as means and standard deviations over its seeds.

    Args:
      variances: kind -> name -> share, for each seed.

    Returns:
      kind -> name -> {"mean", "sd", "seeds": [one for each seed]}; names that a seed lacks (no score varied) are left
      out.
    """
    tree: dict[str, Any] = {}
    for kind, named in variances[0].items():
        common = [name for name in named if all(name in one[kind] for one in variances)]
        values_by_name = {name: [one[kind][name] for one in variances] for name in common}
        tree[kind] = {name: over_seeds(values) for name, values in values_by_name.items()}
    return tree


def variance_table(tree: Mapping[str, Any]) -> Table:
    """Returns a table of the shares of the variance of the full model's scores, by part, then by component.

    Args:
      tree: the result of `variance_over_seeds`, with "parts", and "components" by ablation.
    """
    title = "variance of a user's scores over the catalogue: shares, mean +- sd over seeds; validation users"
    result = Table("what", "share", "reading", title=title, title_justify="left")
    result.columns[1].justify = "right"
    for position, (name, found) in enumerate(tree["parts"].items()):
        last = position == len(tree["parts"]) - 1
        result.add_row(name, plus_minus(found["mean"], found["sd"]), "part of the score", end_section=last)
    for name, title_in_paper in ABLATIONS.items():
        found = tree["components"].get(name, {"mean": None, "sd": None})
        component = title_in_paper.removeprefix("w/o ")
        result.add_row(component, plus_minus(found["mean"], found["sd"]), _READINGS[name])
    return result


LEGEND = "mean +- sd over seeds; contribution: full minus ablated +- over seeds, 95% and p over users"
"""Explains what all tables of variants have in common."""


def table(variant: str, split: str, found: Mapping[str, Any]) -> Table:
    """Returns a table of a variant's figures on a split and, for an ablation, of the contribution of its component.

    Args:
      variant: the name of the variant, from `variants` or UNTRAINED.
      split: "test" or "val".
      found: {"figures": the result of `figures`, and for an ablation "contribution": the result of `contributions`}.
    """
    where = {columns.TEST: "test", columns.VAL: "validation"}[split]
    title = f"{where}, {(ABLATIONS | UNTRAINED).get(variant, variant)}"
    result = Table("slice", title=title, title_justify="left")
    contributions = found.get("contribution")
    for heading in ("mean", *(("contribution", "95%", "p") if contributions else ())):
        result.add_column(heading, justify="right")
    for metric in METRICS:
        result.add_section()
        result.add_row(metric)
        for name, figures_by_metric in found["figures"].items():
            cells = [plus_minus(figures_by_metric[metric]["mean"], figures_by_metric[metric]["sd"])]
            if contributions:
                cells += _contribution_cells(contributions[name][metric])
            result.add_row(name, *cells)
    return result


def _contribution_cells(found: Mapping[str, Any]) -> list[str]:
    ends = "-" if found["low"] is None else f"{found['low']:+.4f} {found['high']:+.4f}"
    p = "-" if found["p"] is None else f"{found['p']:.1e}"
    error = "" if found["error"] is None else f" +- {found['error']:.4f}"
    return [f"{found['difference']:+.4f}{error}", ends, p]


def _filled(evaluation: Evaluation) -> list[str]:
    return [name for name in SLICES if name in evaluation.slices and len(evaluation[name].users)]


def _of_seed(config: Config, variant: str, seed: int) -> Config:
    changes: dict[str, Any] = {}
    name = f"{config.run.name}-seed{seed}"
    if variant != FULL:
        name = f"{config.run.name}-{variant}-seed{seed}"
        changes["model"] = config.m3csr.model_copy(update={variant: False})
        # Rivals and bootstrap intervals belong to the full model: for an ablation they would be the same, or remain
        # unread.
        changes["evaluation"] = config.evaluation.model_copy(update={"baselines": (), "bootstrap": 0})
    changes["run"] = config.run.model_copy(update={"name": name, "seed": seed})
    return config.model_copy(update=changes)
