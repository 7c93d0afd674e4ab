"""The state of a training: its steps, validations and throughput, as its checkpoint and its logs hold them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from m3csr_tf.training.validation import SELECTED_BY
from m3csr_tf.util.files import write_text


@dataclass
class TrainingState:
    """The state of a run's training, which its checkpoint holds as JSON.

    Attributes:
      prepared: digest of the data (`run_files.data_digest`).
      fingerprint: the fingerprint of the settings.
      cross_ids: digest of the cross-fitted ids; "" without such ids.
      initialisation: how weights were initialised (`Initialised.method`), or the name of the run from which they come.
      step: number of finished steps.
      seconds: seconds that the steps took, over all sittings.
      validations: {"step", "loss", "recall@20", "ndcg@20"} of each validation; that of step 0, of the initial weights,
        has a loss of NaN.
      throughputs: {"step", "examples_per_second", "resident_gib"} of each interval between validations: the speed of
        training until that step, including its input, and the memory of the process at that step.
    """

    prepared: str
    fingerprint: str
    cross_ids: str
    initialisation: str = ""
    step: int = 0
    seconds: float = 0.0
    validations: list[dict[str, float]] = field(default_factory=list)
    throughputs: list[dict[str, float]] = field(default_factory=list)

    def best(self, min_delta: float) -> dict[str, float] | None:
        """Returns the best validation, or None if there is none.

        It is the last one whose Recall@20 was better than the best before; the first to beat is that of the initial
        weights.

        Args:
          min_delta: the share of the best Recall@20 by which a validation must exceed it (training.min_delta).
        """
        best = None
        for one in self.validations:
            if best is None or one[SELECTED_BY] > best[SELECTED_BY] * (1 + min_delta):
                best = one
        return best

    @property
    def initial_recall(self) -> float | None:
        """Recall@20 of the initial weights; None if they were not validated."""
        return next((one[SELECTED_BY] for one in self.validations if one["step"] == 0), None)


def write_csv(path: Path, lines: list[dict[str, float]]) -> None:
    """Writes a CSV file of rows with the same columns; without a row it writes none."""
    if lines:
        texts = [",".join(lines[0]), *(",".join(f"{value:.6g}" for value in line.values()) for line in lines)]
        write_text(path, "\n".join(texts) + "\n")
