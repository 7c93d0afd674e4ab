"""What training by watch time finds: seconds of held-back watching in the top 20, beside training by click.

    python benchmarks/watch_seconds.py

Each seed is a world of its own, whose clicks carry the seconds that were watched (`data.events.column=watch_seconds`),
and a seed of the training. Both trainings see the same clicks. One draws positives by weight and counts popularity so;
the other draws and counts clicks. The model is BPR-MF, which learns from the draws alone; `model.kind` takes another.
M3CSR trained by weight also begins with ids that count clicks so (`model.initial.by_weight`):

    python benchmarks/watch_seconds.py model.kind=m3csr training.cross_fit=0 training.id_rate=1
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy import stats

from m3csr_tf import columns
from m3csr_tf.config import Config, load
from m3csr_tf.evaluation.metrics import NDCG, RECALL, WEIGHT, WEIGHTED_RECALL, name
from m3csr_tf.evaluation.report import evaluate_split
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.util.files import write_json
from m3csr_tf.util.progress import say
from m3csr_tf.verbs.load_run import vectors_of
from m3csr_tf.verbs.train import train

AT = 20
METRICS = {
    "watch seconds in the top 20": name(WEIGHT, AT),
    "Recall@20 by watch seconds": name(WEIGHTED_RECALL, AT),
    "Recall@20": name(RECALL, AT),
    "NDCG@20": name(NDCG, AT),
}
SETTINGS = (
    "model.kind=bpr_mf",
    "model.dim=32",
    "data.world.users=1000",
    "data.world.items=500",
    "data.world.clicks=25000",
    "data.events.column=watch_seconds",
    "clusters.count=4",
    "training.max_steps=400",
    "training.evaluate_every=100",
    "evaluation.users=all",
    "evaluation.bootstrap=0",
    "run.threads=1",
)
OF_M3CSR = {"by weight": ("model.initial.by_weight=true",), "by click": ("model.initial.by_weight=false",)}
WAYS = {
    "by weight": ("training.by_weight=true", "popularity.source=train_weight"),
    "by click": ("training.by_weight=false", "popularity.source=train_clicks"),
}


def figures(config: Config) -> dict[str, float]:
    """Test figures of a training, means over the users of the split."""
    trained = train(config)
    vectors = vectors_of(trained, VectorEncoder(trained.model, item_features(trained.prepared)))
    everything = evaluate_split(trained.prepared, *vectors, columns.TEST, config.evaluation)["all"]
    return {title: everything.mean(metric) for title, metric in METRICS.items()}


def compared(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Metric -> means of both trainings, the values of each seed, and the p-value of a paired t-test over the seeds."""
    tree = {}
    for title in METRICS:
        by_weight, by_click = (np.array([one[way][title] for one in found]) for way in WAYS)
        tree[title] = {
            "by_weight": by_weight.tolist(),
            "by_click": by_click.tolist(),
            "gain": float(by_weight.mean() / by_click.mean() - 1),
            "p": float(stats.ttest_rel(by_weight, by_click).pvalue) if len(found) > 1 else None,
        }
    return tree


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="Further settings, section.name=value.")] = None,
    seeds: Annotated[int, typer.Option(help="Worlds, and seeds of the training.", min=1, max=100)] = 5,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Train by watch seconds and by click, and compare what both find."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            found.append({})
            for way, settings in WAYS.items():
                own = [f"run.seed={seed}", f"data.world.seed={7 + seed}", f"run.folder={folder}"]
                own += [f"run.name={way.replace(' ', '-')}-{seed}"]
                asked = overrides or []
                if "model.kind=m3csr" in asked:
                    settings = (*settings, *OF_M3CSR[way])
                config = load(None, [*SETTINGS, *settings, *own, *asked])
                found[-1][way] = figures(config)
                say(f"seed {seed}, {way}: {', '.join(f'{title} {one:.4f}' for title, one in found[-1][way].items())}")
    result = compared(found)
    table = Table("test metric", "by weight", "by click", "change", "p", title=f"{seeds} seeds")
    for title, one in result.items():
        means = [f"{np.mean(one[way]):.4f}" for way in ("by_weight", "by_click")]
        table.add_row(title, *means, f"{one['gain']:+.1%}", "-" if one["p"] is None else f"{one['p']:.1e}")
    Console().print(table)
    if json_path is not None:
        write_json(json_path, result)


if __name__ == "__main__":
    typer.run(main)
