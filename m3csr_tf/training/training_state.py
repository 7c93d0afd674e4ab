"""The state of a training: its steps, validations and throughput, as its checkpoint and its logs hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m3csr_tf.config import TrainingConfig
from m3csr_tf.training.validation import RECALL, Validated, selected_by, standard_error
from m3csr_tf.util.files import write_text

_ROUNDING = 1e-6
"""A standard error is larger by this share, so that equality is not decided by rounding."""


@dataclass
class TrainingState:
    """The state of a run's training, which its checkpoint holds as JSON.

    Attributes:
      prepared: digest of the data (`run_files.data_digest`).
      fingerprint: of the settings.
      cross_ids: digest of the ids that do not know the clicks of training; "" without such.
      initialisation: how weights were initialised (`Initialised.method`), or the name of the run that they were taken
        from.
      initialisation_settings: those that lead to the same initialisation without validation (`Initialised.settings`).
      known_clicks: held-back clicks that the initial weights know (`Initialised.known_clicks`).
      choice: of a final fit, digest of the training that chose (`final_fit.choice_digest`); else "".
      step: finished steps.
      seconds: spent on them, over all sittings.
      validations: one {"step", "loss", "recall@20", "ndcg@20", "standard_error_of_rise"} each, and
        "weighted_recall@20" where positives are drawn by weight. The standard error is that of the mean difference,
        over the users, from the best validation before (`validation.standard_error`). That of step 0, of the initial
        weights, has a loss and a standard error of NaN. Those of a final fit have a step and a loss alone.
      throughputs: between validations, {"step", "examples_per_second", "resident_gib"} each: how fast training was
        until that step, input included, and the process's memory there.
    """

    prepared: str
    fingerprint: str
    cross_ids: str
    initialisation: str = ""
    initialisation_settings: dict[str, Any] = field(default_factory=dict)
    known_clicks: dict[str, int] = field(default_factory=dict)
    choice: str = ""
    step: int = 0
    seconds: float = 0.0
    validations: list[dict[str, float]] = field(default_factory=list)
    throughputs: list[dict[str, float]] = field(default_factory=list)

    def add(self, loss: float, validated: Validated, best_per_user: np.ndarray) -> None:
        """Adds the validation of the present step.

        Args:
          loss: mean loss of the steps since the validation before.
          validated: what it found.
          best_per_user: float64 [users], the users' values in the best validation before; unused in the first one.
        """
        figures = dict(validated.figures)
        if figures:
            first = not self.validations
            error = math.nan if first else standard_error(validated.per_user, best_per_user)
            figures["standard_error_of_rise"] = error
        self.validations.append({"step": self.step, "loss": loss, **figures})

    def best(self, settings: TrainingConfig) -> dict[str, float] | None:
        """The last validation whose Recall@20 (`selected_by`) was better than the best before, at first that of the
        initial weights; None without any. In a final fit, which nothing judges, it is the last one.

        Better means that it exceeds the best before by more than the share training.min_delta of it, and by more than
        training.min_standard_errors standard errors of the difference over the same users. It is a bar and no test of
        significance: it is after the one-standard-error rule of Breiman et al. 1984, but compares with the weights that
        are kept so far.
        """
        best = None
        for one in self.validations:
            chosen_by = selected_by(one)
            if best is None or chosen_by not in one:
                best = one
                continue
            rise = one[chosen_by] - best[chosen_by]
            errors = settings.min_standard_errors * one["standard_error_of_rise"]
            # Where a single user has changed, rise and standard error are equal but for rounding.
            if rise > max(settings.min_delta * best[chosen_by], errors * (1 + _ROUNDING)):
                best = one
        return best

    @property
    def initial_recall(self) -> float | None:
        """Recall@20 of the initial weights; None where they were not validated."""
        return next((one[RECALL] for one in self.validations if one["step"] == 0 and RECALL in one), None)


def write_csv(path: Path, lines: list[dict[str, float]]) -> None:
    """Writes a CSV file of rows with the same columns; without a row it writes none."""
    if lines:
        texts = [",".join(lines[0]), *(",".join(f"{value:.6g}" for value in line.values()) for line in lines)]
        write_text(path, "\n".join(texts) + "\n")
