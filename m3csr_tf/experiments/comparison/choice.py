"""Chooses the settings of a model: those of the trial with the best Recall@20 on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.experiments.comparison.scheduler import Outcomes
from m3csr_tf.training import finished

SELECTED_BY = "recall@20"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
      run: the name of its run.
      settings: the settings that it changes, dotted name -> value.
      recall, ndcg: Recall@20 and NDCG@20 of its best validation; None if it failed.
      seconds: seconds of training; None if it failed.
      epochs: the largest number of passes over the training clicks that it was allowed; None if it failed.
      problem: why it failed; None if it did not.
    """

    run: str
    settings: Mapping[str, Any]
    recall: float | None
    ndcg: float | None
    seconds: float | None
    epochs: float | None
    problem: str | None = None


@dataclass(frozen=True)
class ChosenTrial:
    """The result of a search.

    Attributes:
      trials: all trials, in their order.
      position: the position of the chosen trial.
      config: the configuration of its run, which has seed 0.
    """

    trials: Sequence[Trial]
    position: int
    config: Config

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the chosen trial changes."""
        return self.trials[self.position].settings


def choose(runs: Sequence[str], settings: Sequence[Mapping[str, Any]], outcomes: Outcomes) -> ChosenTrial:
    """Chooses the trial with the best validation Recall@20, the earliest of equal ones; it reads no test clicks.

    Args:
      runs: names of the jobs of the trials, which have ended.
      settings: the settings that each trial changes.
      outcomes: the outcomes of the jobs.

    Raises:
      RunError: no trial has finished.
    """
    trials = [_trial(run, changed, outcomes) for run, changed in zip(runs, settings, strict=True)]
    recalls = {position: trial.recall for position, trial in enumerate(trials) if trial.recall is not None}
    if not recalls:
        raise RunError(f"no trial has come to its end: {runs[0]} has failed: {trials[0].problem}")
    best = max(recalls, key=lambda position: recalls[position])
    config = outcomes[runs[best]].config
    assert config is not None  # A trial with a recall has finished.
    return ChosenTrial(trials, best, config)


def _trial(run: str, settings: Mapping[str, Any], outcomes: Outcomes) -> Trial:
    outcome = outcomes[run]
    if outcome.problem is not None or outcome.config is None:
        return Trial(run, settings, None, None, None, None, outcome.problem)
    found = finished.read(outcome.config.run_folder)
    return Trial(
        run, settings, found[SELECTED_BY], found["ndcg@20"], found["training_seconds"], found["budget"]["epochs"]
    )
