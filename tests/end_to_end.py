"""What tests of whole pipelines share: running a script as a nightly job does, and exact lists to compare with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).parents[1]


def run_script(verb: str, folder: Path, config: str | Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs pipelines/<verb>.py from another folder, in a process of its own."""
    command = [sys.executable, str(REPOSITORY / "pipelines" / f"{verb}.py"), "--config", str(config), *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)


def overlap_with_exact(run_folder: Path, lists: Path) -> float:
    """Mean overlap at 20, over a run's users, of retrieved lists with the Keras model's exact ranking.

    Items have the bonuses that the evaluation of the run found for them, as a release gives it.
    """
    from m3csr_tf.exposure import with_bonuses
    from m3csr_tf.features.histories import click_matrix, histories
    from m3csr_tf.ids import FIRST_ROW
    from m3csr_tf.ranking.full_ranking import top_n
    from m3csr_tf.sampling.training_data import item_features
    from m3csr_tf.training.runs import load_trained
    from m3csr_tf.training.vectors import VectorEncoder

    trained = load_trained(run_folder)
    metrics = json.loads((run_folder / "metrics.json").read_text())
    prepared = trained.prepared
    encoder = VectorEncoder(trained.model, item_features(prepared))
    # Lists know the clicks of all splits, as evaluation does not.
    log = pd.concat([prepared.split(name) for name in ("train", "val", "test")], ignore_index=True)
    slots = histories(log, len(prepared.users), trained.config.history.length, trained.config.split.seed)
    rows = np.arange(FIRST_ROW, len(prepared.users))
    ranked = top_n(
        encoder.users(rows, slots[rows]),
        with_bonuses(encoder.items(), prepared, np.array(metrics["exposure"]["bonuses"], np.float32)),
        20,
        seen=click_matrix(log, len(prepared.users), len(prepared.items))[rows],
        candidates=np.arange(len(prepared.items)) >= FIRST_ROW,
    )
    exact = dict(zip(prepared.users.known, map(set, prepared.items.ids(ranked)), strict=True))
    retrieved = pd.read_parquet(lists).groupby("user_id")["item_id"].agg(set)
    return float(np.mean([len(found & exact[user]) / 20 for user, found in retrieved.items()]))
