"""Runs of random weights that look as if they had been trained."""

from __future__ import annotations

from typing import Any


def finish(run: Any) -> None:
    """Writes a run as one that has ended."""
    from m3csr_tf.training import finished, run_files, runs

    folder = run_files.open_run(run.config)
    weights = runs.best_weights(folder, 1)
    runs.weights_checkpoint(run.model).write(str(weights))
    facts = {"best_step": 1, "steps": 1, "recall@20": 0.25, "ndcg@20": 0.125, "training_seconds": 0.5}
    facts["prepared"] = run_files.data_digest(run.prepared)
    finished.write(folder, facts, run.config.fingerprint(), weights)
