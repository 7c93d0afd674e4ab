"""Writes results.json: all results of an experiment by cell, and the data of its figures as CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf.baselines.registry import CEILING
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import RunError
from m3csr_tf.experiments import ablations
from m3csr_tf.experiments.comparison import curves, figures
from m3csr_tf.experiments.comparison.gathering import SystemRuns, gather, prepared_folder
from m3csr_tf.experiments.comparison.jobs import Jobs, Planned
from m3csr_tf.experiments.comparison.planning import Cell
from m3csr_tf.experiments.comparison.scheduler import Outcomes
from m3csr_tf.experiments.comparison.settings import ExperimentFile
from m3csr_tf.training.run_files import versions
from m3csr_tf.util.progress import progress

RESULTS_FILE, TABLES, FIGURES, ALL_TABLES = "results.json", "tables", "figures", "tables.md"
TRAINED, CLOSED_FORM = "trained", "closed form"


class Results:
    """Reads the results that the runs of an experiment have left.

    Args:
      experiment: the file of the experiment.
      cells: the planned cells.
      jobs: the source of `planned`.
      planned: all jobs.
      outcomes: the outcomes of all jobs.
    """

    def __init__(
        self,
        experiment: ExperimentFile,
        cells: Sequence[Cell],
        jobs: Jobs,
        planned: Sequence[Planned],
        outcomes: Outcomes,
    ) -> None:
        self._experiment, self._cells, self._jobs = experiment, cells, jobs
        self._planned, self._outcomes = planned, outcomes
        self._curves: dict[str, list[pd.DataFrame]] = {}

    def tree(self, name: str, processes: int) -> dict[str, Any]:
        """Returns the content of results.json.

        Args:
          name: the name of the experiment.
          processes: number of runs at the same time.
        """
        cells: dict[str, Any] = {}
        with progress("reading the results, cells", len(self._cells)) as stage:
            for cell in self._cells:
                cells[cell.name] = self._cell(cell)
                stage(len(cells))
        problems = {name: outcome.problem for name, outcome in self._outcomes.items() if outcome.problem is not None}
        return {
            "experiment": name,
            "ours": self._experiment.title(self._experiment.first),
            "seeds": self._experiment.seeds,
            "trials": self._experiment.trials,
            "epochs": self._experiment.epochs,
            "search_seed": self._experiment.search_seed,
            "processes": processes,
            "versions": versions(),
            "cells": cells,
            "failed": problems,
            "runs": {
                name: {"folder": str(outcome.config.run_folder), "verbs": outcome.verbs}
                for name, outcome in self._outcomes.items()
                if outcome.config is not None
            },
        }

    def write_figures(self, folder: Path) -> dict[str, pd.DataFrame]:
        """Writes the data of the figures of the cells that `tree` has read, and returns the tables by name."""
        return curves.write(self._curves, folder / FIGURES)

    def finals(self) -> dict[str, Path]:
        """Returns the folders of the reported runs of trained models, by the name of their job."""
        return {
            one.job.name: outcome.config.run_folder
            for one in self._planned
            if one.role == "model"
            and (outcome := self._outcomes[one.job.name]).problem is None
            and outcome.config is not None
        }

    def first_seeds(self) -> dict[str, Config | None]:
        """Returns cell -> configuration of the run of ours with seed 0; None where it failed."""
        found: dict[str, Config | None] = {}
        for one in self._planned:
            if one.role == "model" and one.system == self._experiment.first and one.seed == 0:
                outcome = self._outcomes[one.job.name]
                found[one.cell] = outcome.config if outcome.problem is None else None
        return found

    def _of(self, cell: Cell, role: str) -> dict[str, SystemRuns]:
        planned = [one for one in self._planned if one.cell == cell.name and one.role == role]
        return gather(planned, self._outcomes)

    def _cell(self, cell: Cell) -> dict[str, Any]:
        folder = prepared_folder(self._planned, self._outcomes, cell.name)
        prepared = None if folder is None else Prepared.open(folder)
        trained, baselines = self._of(cell, "model"), self._of(cell, "baseline")
        ours = trained.get(self._experiment.first)
        systems: dict[str, Any] = {}
        for name, system in {**trained, **baselines}.items():
            systems[name] = figures.of_system(system) | {
                "title": self._experiment.title(name) if name in trained else name,
                "how": TRAINED if name in trained else CLOSED_FORM,
                "against_ours": {} if ours is None or system is ours else figures.tests_against(ours, system),
            }
            systems[name] |= self._choice(cell, name) if name in trained else {"choice": dict(system.choice)}
        ablated, subsets = self._of(cell, "ablation"), self._of(cell, "subset")
        tree = {
            "data_set": cell.data,
            "split": cell.split,
            "chosen_on": cell.entry.chosen_on,
            "data": None if prepared is None else figures.statistics(prepared),
            "systems": systems,
            "best_rivals": figures.best_rivals(systems, self._experiment.first, [CEILING]),
            "full": {},
            "ablations": {},
            "subsets": {},
        }
        if ours is not None and ablated:
            # The full model has the seeds of the ablations alone, so that runs are paired.
            tree["full"] = {"figures": ablations.figures(self._paired(ours, ablated).tests)}
            tree["ablations"] = {name: self._ablation(ours, system) for name, system in ablated.items()}
        if ours is not None and subsets:
            tree["subsets"] = {name: figures.of_system(one) for name, one in subsets.items()}
        if prepared is not None:
            self._draw(cell, trained, baselines, subsets, prepared)
        return tree

    def _paired(self, ours: SystemRuns, others: Mapping[str, SystemRuns]) -> SystemRuns:
        seeds = set.intersection(*({run.seed for run in system.runs} for system in others.values()))
        return SystemRuns(ours.name, [run for run in ours.runs if run.seed in seeds] or ours.runs)

    def _ablation(self, ours: SystemRuns, ablated: SystemRuns) -> dict[str, Any]:
        seeds = {run.seed for run in ours.runs} & {run.seed for run in ablated.runs}
        one, other = ([run.test for run in system.runs if run.seed in seeds] for system in (ours, ablated))
        tree = {"figures": ablations.figures(ablated.tests)}
        return tree | ({"contribution": ablations.contributions(one, other)} if seeds else {})

    def _choice(self, cell: Cell, model: str) -> dict[str, Any]:
        """Returns the trials of a model and the chosen one; if another split chose it, the chosen settings alone."""
        try:
            choice = self._jobs.choice(cell, model, self._outcomes)
        except RunError:
            return {}
        if cell.entry.chosen_on is not None:
            return {"settings": dict(choice.settings)}
        trials = [{**asdict(trial), "settings": dict(trial.settings)} for trial in choice.trials]
        return {"settings": dict(choice.settings), "chosen": choice.position, "trials": trials}

    def _draw(
        self,
        cell: Cell,
        trained: Mapping[str, SystemRuns],
        baselines: Mapping[str, SystemRuns],
        subsets: Mapping[str, SystemRuns],
        prepared: Prepared,
    ) -> None:
        models = {self._experiment.title(name): system for name, system in trained.items()}
        everything = {**models, **baselines}
        of_subsets = dict(subsets)
        ours = trained.get(self._experiment.first)
        if of_subsets and ours is not None:
            seeds = {run.seed for system in subsets.values() for run in system.runs}
            all_runs = [run for run in ours.runs if run.seed in seeds]
            of_subsets[" + ".join(prepared.modalities)] = SystemRuns(ours.name, all_runs or ours.runs[:1])
        drawn = {
            curves.LENGTHS: curves.by_length(everything, cell.name),
            f"{curves.LENGTHS}_and_modalities": curves.by_length(of_subsets, cell.name),
            curves.POPULARITY: curves.by_popularity(everything, prepared, cell.name),
            curves.TRAINING: curves.training(models, cell.name),
            curves.QUALITY: curves.quality_time(models, cell.name),
        }
        for name, table in drawn.items():
            self._curves.setdefault(name, []).append(table)
