"""What the runs of a cell have left in their folders, by system: evaluations, figures of the lists, time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation import per_user
from m3csr_tf.evaluation.report import ALL, Evaluation
from m3csr_tf.experiments.comparison.jobs import Planned
from m3csr_tf.experiments.comparison.scheduler import Outcomes
from m3csr_tf.training import finished, run_files
from m3csr_tf.util.stored import reading, stored_json

BASELINES_FILE = "baselines.json"
SHARES = ("coverage@20", "cold_coverage@20", "cold_share@20", "novelty@20", "gini@20")
VALIDATIONS, THROUGHPUT = "validations.csv", "throughput.csv"
_ADVICE = "run the same command again"


@dataclass(frozen=True)
class Run:
    """One run of a system that has ended well.

    Attributes:
      seed: of the run.
      config: its settings.
      test, validation: its evaluations.
      figures: the slice "all" of test as metrics.json has it, with the shares of its lists and curves of all lengths.
      finished: its finished.json; empty for a closed form.
      verbs: as in the outcome of its job.
    """

    seed: int
    config: Config
    test: Evaluation
    validation: Evaluation
    figures: Mapping[str, Any]
    finished: Mapping[str, Any]
    verbs: Mapping[str, Mapping[str, Any]]

    @property
    def training_seconds(self) -> float | None:
        """Of a training, steps and validations; None for a closed form."""
        return self.finished.get("training_seconds")

    @property
    def peak_gib(self) -> float:
        """The most memory that a process of it had resident, GiB."""
        return max(verb["peak_gib"] for verb in self.verbs.values())

    @property
    def examples_per_second(self) -> float | None:
        """Median speed of the training, input included; None where no log says so."""
        log = self.log(THROUGHPUT)
        return None if log is None else float(log["examples_per_second"].median())

    def log(self, name: str) -> pd.DataFrame | None:
        """A log of the training."""
        path = self.config.run_folder / run_files.LOGS / name
        if not self.finished or not path.exists():
            return None
        with reading(path, _ADVICE, RunError):
            return pd.read_csv(path)


@dataclass(frozen=True)
class SystemRuns:
    """A system of a cell.

    Attributes:
      name: in the file, or of the baseline, ablation or subset.
      runs: one a seed, of those that have ended well.
      choice: of a closed form, what its grid gave; empty where there was nothing to choose.
    """

    name: str
    runs: Sequence[Run]
    choice: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tests(self) -> list[Evaluation]:
        """Evaluations on test, one a seed."""
        return [run.test for run in self.runs]


def gather(planned: Sequence[Planned], outcomes: Outcomes) -> dict[str, SystemRuns]:
    """The systems of some jobs of one cell and role; those without a run that has ended well are left out.

    Raises:
      RunError: a file of a run is missing or broken.
    """
    found: dict[str, list[Run]] = {}
    choices: dict[str, Mapping[str, Any]] = {}
    for one in planned:
        outcome = outcomes[one.job.name]
        if outcome.problem is not None or outcome.config is None:
            continue
        folder = outcome.config.run_folder
        evaluated = per_user.read(folder / per_user.PER_USER_FILE)
        if one.role == "baseline":
            tree = stored_json(folder / BASELINES_FILE, _ADVICE, RunError)
            if one.system not in tree:  # The log is too large for it.
                continue
            figures, training = tree[one.system], {}
            choices[one.system] = figures.get("choice", {})
        else:
            figures, training = stored_json(folder / run_files.METRICS_FILE, _ADVICE, RunError), finished.read(folder)
        # A run has one system, whatever its files call it.
        evaluation = next(iter(evaluated.values()))
        trial = outcomes.get(outcome.config.run.name)  # A trial that is reported was trained by a job of its own.
        verbs = {**(trial.verbs if trial is not None else {}), **outcome.verbs}
        found.setdefault(one.system, []).append(
            Run(
                one.seed,
                outcome.config,
                evaluation[columns.TEST],
                evaluation[columns.VAL],
                figures[columns.TEST][ALL],
                training,
                verbs,
            )
        )
    return {name: SystemRuns(name, runs, choices.get(name, {})) for name, runs in found.items()}


def prepared_folder(planned: Sequence[Planned], outcomes: Outcomes, cell: str) -> Path | None:
    """Where the data of a cell lie, as most of its runs see them; None where they could not be prepared."""
    for one in planned:
        outcome = outcomes[one.job.name]
        if one.cell == cell and one.role == "data" and outcome.problem is None and outcome.config is not None:
            return outcome.config.run_folder / run_files.PREPARED_FOLDER
    return None
