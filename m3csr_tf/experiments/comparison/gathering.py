"""Reads what the runs of a cell have left, by system: evaluations, figures of the lists, time and memory."""

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
    """A run of a system that has finished without failure.

    Attributes:
      seed: the seed of the run.
      config: the settings of the run.
      test, validation: its evaluations.
      figures: the slice "all" of test in metrics.json, with the shares of its lists and curves of all lengths.
      finished: its finished.json; empty for a closed form.
      verbs: see `RunOutcome.verbs`.
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
        """The seconds of its training, for steps and validations; None for a closed form."""
        return self.finished.get("training_seconds")

    @property
    def peak_gib(self) -> float:
        """The largest resident memory of one of its processes, in GiB."""
        return max(verb["peak_gib"] for verb in self.verbs.values())

    @property
    def examples_per_second(self) -> float | None:
        """The median speed of the training, including its input; None where there is no log of it."""
        log = self.log(THROUGHPUT)
        return None if log is None else float(log["examples_per_second"].median())

    def log(self, name: str) -> pd.DataFrame | None:
        """Returns a log of the training; None where there is none."""
        path = self.config.run_folder / run_files.LOGS / name
        if not self.finished or not path.exists():
            return None
        with reading(path, _ADVICE, RunError):
            return pd.read_csv(path)


@dataclass(frozen=True)
class SystemRuns:
    """A system of a cell.

    Attributes:
      name: its name in the file, or that of the baseline, ablation or subset.
      runs: its runs that have finished without failure, one for each seed.
      choice: for a closed form, the result of its grid search; empty where there was nothing to choose.
    """

    name: str
    runs: Sequence[Run]
    choice: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tests(self) -> list[Evaluation]:
        """The evaluations on test, one for each seed."""
        return [run.test for run in self.runs]


def gather(planned: Sequence[Planned], outcomes: Outcomes) -> dict[str, SystemRuns]:
    """Returns the systems of jobs of one cell and role; those of which no run has finished are left out.

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
            if one.system not in tree:  # The log is too large for this baseline.
                continue
            figures, training = tree[one.system], {}
            choices[one.system] = figures.get("choice", {})
        else:
            figures, training = stored_json(folder / run_files.METRICS_FILE, _ADVICE, RunError), finished.read(folder)
        # A run has one system, whatever its name is in the files.
        evaluation = next(iter(evaluated.values()))
        trial = outcomes.get(outcome.config.run.name)  # The reported trial was trained by its own job.
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
    """Returns the prepared folder of a cell that most of its runs use; None where the data could not be prepared."""
    for one in planned:
        outcome = outcomes[one.job.name]
        if one.cell == cell and one.role == "data" and outcome.problem is None and outcome.config is not None:
            return outcome.config.run_folder / run_files.PREPARED_FOLDER
    return None
