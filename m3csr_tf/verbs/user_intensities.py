"""Summarises the learned intensities of users, which say how much each modality counts for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from m3csr_tf.evaluation.intensities import intensity_correlations
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import UserVectors
from m3csr_tf.util.samples import sample
from m3csr_tf.verbs.console import console


def intensities_of(trained: TrainedRun, users: UserVectors) -> dict[str, dict[str, float]]:
    """Returns mean and spread of the learned intensities over the users, by modality.

    For the synthetic world it takes all users, and adds the correlation with their true intensities. For other data, at
    most `training.validation_users` users are sampled. The result is empty if the model does not weigh modalities.
    """
    if not users.encoder.weighs_modalities:
        return {}
    prepared = trained.prepared
    rows = np.arange(FIRST_ROW, len(prepared.users), dtype=np.int32)
    if prepared.truth() is None:
        rows = sample(rows, trained.config.training.validation_users, trained.config.run.seed, nested=True)
    learned = users.encoder.intensities(rows, users.audience.histories(rows))
    tree = {
        name: {"mean": float(learned[:, position].mean()), "spread": float(learned[:, position].std())}
        for position, name in enumerate(prepared.modalities)
    }
    truth = prepared.truth()
    if truth is not None:
        found = intensity_correlations(learned, truth["intensities"], prepared.modalities, trained.config.run.seed)
        tree = {name: figures | found[name] for name, figures in tree.items()}
    return tree


def print_intensities(intensity: Mapping[str, Mapping[str, float]]) -> None:
    """Prints a table of what `metrics.json` holds under "intensity", one row for each modality."""
    title = "learned intensities over users"
    table = Table("modality", *next(iter(intensity.values())), title=title, title_justify="left")
    for name, figures in intensity.items():
        table.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    console.print(table)
