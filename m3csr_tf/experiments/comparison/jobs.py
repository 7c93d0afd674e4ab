"""The jobs of an experiment for each cell: data, trials, closed-form baselines, and the runs that are reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from m3csr_tf import columns
from m3csr_tf.baselines.registry import BASELINES, CEILING, TUNED
from m3csr_tf.config import Config, with_settings
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation.per_user import PER_USER_FILE
from m3csr_tf.experiments.ablations import ABLATIONS
from m3csr_tf.experiments.comparison.choice import ChosenTrial, choose
from m3csr_tf.experiments.comparison.planning import (
    Cell,
    check_distinct,
    named,
    of_ablation,
    of_subset,
    prepared_name,
    subset_word,
    subsets_of,
    within_budget,
)
from m3csr_tf.experiments.comparison.scheduler import Outcomes, RunJob, RunPlan, configuration_of
from m3csr_tf.experiments.comparison.settings import ExperimentFile
from m3csr_tf.experiments.shared_prepared import share_prepared
from m3csr_tf.training import run_files
from m3csr_tf.training.finished import FINISHED_FILE
from m3csr_tf.util.files import sha256
from m3csr_tf.util.stored import stored_json

Role = Literal["data", "trial", "model", "baseline", "ablation", "subset"]
_OUTPUTS = {
    "prepare": f"{run_files.PREPARED_FOLDER}/{columns.MANIFEST}",
    "train": FINISHED_FILE,
    "evaluate": PER_USER_FILE,
    "baselines": PER_USER_FILE,
}


@dataclass(frozen=True)
class Planned:
    """A job and its purpose in the experiment.

    Attributes:
      job: the job.
      cell: the name of its cell.
      role: the purpose of the job.
      system: the name of the model or baseline; for an ablation the component that is left out, for a subset its
        modalities.
      seed: the seed of the run.
    """

    job: RunJob
    cell: str
    role: Role
    system: str
    seed: int


class Jobs:
    """The jobs of an experiment.

    Args:
      experiment: the file of the experiment.
      cells: the planned cells.
    """

    def __init__(self, experiment: ExperimentFile, cells: Sequence[Cell]) -> None:
        self._experiment = experiment
        self._cells = {cell.name: cell for cell in cells}

    def all(self) -> list[Planned]:
        """Returns all jobs, each after those that it needs; jobs for which others wait come first.

        Raises:
          ConfigError: two runs would have the same name, and so the same folder.
        """
        planned = [one for cell in self._cells.values() for one in self._of_cell(cell)]
        check_distinct([one.job.name for one in planned], "runs")
        order = {"data": 0, "trial": 1, "baseline": 1}
        # Trials come first, because whole chains of runs wait for them.
        return sorted(planned, key=lambda one: order.get(one.role, 2))

    def choice(self, cell: Cell, model: str, outcomes: Outcomes) -> ChosenTrial:
        """Returns what was chosen for a model, in its cell or in the cell whose choices are used there.

        Raises:
          RunError: no trial has finished.
        """
        source = self._source(cell)
        return choose(self._trial_names(source, model), source.trials[model], outcomes)

    def _source(self, cell: Cell) -> Cell:
        chosen_on = cell.entry.chosen_on
        return cell if chosen_on is None else self._cells[f"{cell.data}-{chosen_on}"]

    def _trial_names(self, cell: Cell, model: str) -> list[str]:
        return [f"{cell.name}-{model}-trial{position}" for position in range(len(cell.trials[model]))]

    def _of_cell(self, cell: Cell) -> Iterator[Planned]:
        for name, base in {prepared_name(cell.name, base): base for base in cell.bases.values()}.items():
            yield Planned(self._data(name, base), cell.name, "data", name, 0)
        for model in cell.models:
            yield from self._trials(cell, model)
        yield from self._baselines(cell)
        for model in cell.models:
            yield from self._finals(cell, model)
        ours = self._experiment.first
        for ablation in ABLATIONS if cell.entry.ablations else ():
            for seed in range(cell.entry.ablations):
                yield self._variant(cell, "ablation", ablation, seed)
        for subset in subsets_of(cell.bases[ours]) if cell.entry.subsets else ():
            for seed in range(cell.entry.subsets):
                yield self._variant(cell, "subset", " + ".join(subset), seed, subset)

    def _data(self, name: str, base: Config) -> RunJob:
        def make(outcomes: Outcomes) -> RunPlan:
            return RunPlan(named(base, name), ("prepare",), _OUTPUTS)

        return RunJob(name, "data", make, always=True)

    def _trials(self, cell: Cell, model: str) -> Iterator[Planned]:
        hub = prepared_name(cell.name, cell.bases[model])
        for position, settings in enumerate(cell.trials.get(model, ())):
            name = f"{cell.name}-{model}-trial{position}"

            def make(outcomes: Outcomes, settings: Mapping[str, object] = settings, name: str = name) -> RunPlan:
                return self._training(named(with_settings(cell.bases[model], settings), name), hub, outcomes)

            yield Planned(RunJob(name, model, make, (hub,)), cell.name, "trial", model, 0)

    def _baselines(self, cell: Cell) -> Iterator[Planned]:
        base = cell.bases[""]
        hub = prepared_name(cell.name, base)
        wanted = cell.baselines
        if wanted == "tuned":
            wanted = tuple(name for name in TUNED if name != CEILING or base.data.format == "world")
        for baseline in wanted:
            name = f"{cell.name}-{baseline}"

            def make(outcomes: Outcomes, baseline: str = baseline, name: str = name) -> RunPlan:
                shared = configuration_of(outcomes, hub, "data are")
                evaluation = base.evaluation.model_copy(update={"baselines": (baseline,)})
                config = named(base.model_copy(update={"evaluation": evaluation}), name)
                share_prepared(shared, config)
                return RunPlan(config, ("baselines",), _OUTPUTS, _digest(shared))

            needs = BASELINES[baseline].needs
            after = (hub, *([f"{cell.name}-{needs}"] if needs in wanted else []))
            yield Planned(RunJob(name, baseline, make, after), cell.name, "baseline", baseline, 0)

    def _finals(self, cell: Cell, model: str) -> Iterator[Planned]:
        hub = prepared_name(cell.name, cell.bases[model])
        after = (hub, *self._trial_names(self._source(cell), model))
        for seed in range(cell.seeds):
            name = f"{cell.name}-{model}-seed{seed}"

            def make(outcomes: Outcomes, seed: int = seed, name: str = name) -> RunPlan:
                choice = self.choice(cell, model, outcomes)
                if seed == 0 and cell.entry.chosen_on is None:
                    # The chosen trial is this run, because it has the same settings, data and seed.
                    shared = configuration_of(outcomes, hub, "data are")
                    return RunPlan(choice.config, ("evaluate",), _OUTPUTS, _digest(shared))
                config = with_settings(cell.bases[model], choice.settings)
                return self._training(named(config, name, seed), hub, outcomes, evaluate=True)

            yield Planned(RunJob(name, model, make, after), cell.name, "model", model, seed)

    def _variant(
        self, cell: Cell, role: Literal["ablation", "subset"], system: str, seed: int, subset: Sequence[str] = ()
    ) -> Planned:
        """Returns a run of ours without a component or some modalities, with the settings that were chosen for ours."""
        ours = self._experiment.first
        hub = prepared_name(cell.name, cell.bases[ours])
        what = f"without-{system}" if not subset else f"only-{subset_word(subset, cell.bases[ours])}"
        name = f"{cell.name}-{ours}-{what}-seed{seed}"

        def make(outcomes: Outcomes) -> RunPlan:
            config = with_settings(cell.bases[ours], self.choice(cell, ours, outcomes).settings)
            config = of_subset(config, subset) if subset else of_ablation(config, system)
            return self._training(named(config, name, seed), hub, outcomes, evaluate=True, shares=not subset)

        after = (hub, *self._trial_names(self._source(cell), ours))
        return Planned(RunJob(name, ours, make, after), cell.name, role, system, seed)

    def _training(
        self, config: Config, hub: str, outcomes: Outcomes, evaluate: bool = False, shares: bool = True
    ) -> RunPlan:
        """Returns a plan that trains a run within the common budget, and evaluates it if asked to."""
        shared = configuration_of(outcomes, hub, "data are")
        clicks = _clicks(shared)
        config = within_budget(config, clicks, self._experiment.epochs)
        if shares:
            share_prepared(shared, config)
        return RunPlan(config, ("train", "evaluate") if evaluate else ("train",), _OUTPUTS, _digest(shared))


def _manifest(config: Config) -> dict[str, object]:
    path = config.run_folder / run_files.PREPARED_FOLDER / columns.MANIFEST
    return stored_json(path, "run the same command again", RunError)


def _clicks(config: Config) -> int:
    counts = _manifest(config)["counts"]
    assert isinstance(counts, dict)
    return int(counts["train_interactions"])


def _digest(config: Config) -> str:
    return sha256(config.run_folder / run_files.PREPARED_FOLDER / columns.MANIFEST)
