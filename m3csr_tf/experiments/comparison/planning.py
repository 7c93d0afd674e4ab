"""Plans what an experiment runs: cells (a data set with a split), and names and configurations of their runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3csr_tf import config as configuration
from m3csr_tf.config import PREPARE_SECTIONS, Config, with_settings
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.ablations import ABLATIONS
from m3csr_tf.experiments.comparison.draws import draws
from m3csr_tf.experiments.comparison.settings import OWNED, DataEntry, ExperimentFile, SplitEntry
from m3csr_tf.experiments.sweep.space import check_setting
from m3csr_tf.training.budget import Budget
from m3csr_tf.util.names import check_room
from m3csr_tf.util.quoting import shortened

LONGEST_CURVE = 20
"""Length of the longest list of the curves of Recall@N and NDCG@N."""


@dataclass(frozen=True)
class Cell:
    """A data set with one of its splits.

    Attributes:
      data, split: the names of both in the file.
      entry: what the file says of the split.
      models: names of the models that are trained on it, in the order of the file.
      bases: model -> its configuration, without a name and a seed; "" -> that of the closed-form baselines.
      trials: model -> the settings that each of its trials changes; empty where the settings are chosen on another
        split.
      baselines: the closed-form baselines, "tuned" or their names.
      seeds: number of run seeds of each model.
    """

    data: str
    split: str
    entry: SplitEntry
    models: tuple[str, ...]
    bases: Mapping[str, Config]
    trials: Mapping[str, Sequence[Mapping[str, Any]]]
    baselines: str | tuple[str, ...]
    seeds: int

    @property
    def name(self) -> str:
        """The prefix of the names of its runs."""
        return f"{self.data}-{self.split}"


def plan(
    experiment: ExperimentFile, file: Path, folder: Path, overrides: Sequence[str], folders: Mapping[str, Path]
) -> list[Cell]:
    """Returns every cell of an experiment, with the configurations from which its runs are derived.

    Args:
      experiment: the file of the experiment.
      file: its path, for settings that it names and for messages.
      folder: the folder of the experiment, in which all runs lie.
      overrides: settings of all runs from the command line, which are applied last.
      folders: data set -> its folder, which replaces the one in the file.

    Raises:
      ConfigError: a setting is invalid, a data set has no folder, a name is too long, or a search has fewer settings
        than trials.
    """
    unknown = [name for name in folders if name not in experiment.data]
    if unknown:
        raise ConfigError(
            f"--data {shortened(unknown[0])}=...: the experiment has no such data set; it has "
            f"{', '.join(experiment.data)}"
        )
    owned = [one for one in overrides if one.partition("=")[0].strip() in OWNED and not one.startswith("data.path=")]
    if owned:
        raise ConfigError(f"override {shortened(owned[0])}: it is the experiment's own; say it in {file}")
    cells = []
    for data, entry in experiment.data.items():
        for split, split_entry in entry.splits.items():
            try:
                cells.append(
                    _cell(experiment, file, folder, overrides, folders.get(data), (data, entry), (split, split_entry))
                )
            except ConfigError as error:
                raise ConfigError(f"{file}: data.{data}.splits.{split}: {error}") from None
    check_distinct([cell.name for cell in cells], "data sets with their splits")
    return cells


def check_distinct(names: Sequence[str], of_what: str) -> None:
    """Refuses a list with two equal names, because results lie in folders of these names.

    Raises:
      ConfigError: two names are equal.
    """
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"two {of_what} would be called {twice[0]}: the names of data sets, splits and models, put together with "
            "dashes, are the same; give one of them another name"
        )


def _cell(
    experiment: ExperimentFile,
    file: Path,
    folder: Path,
    overrides: Sequence[str],
    given: Path | None,
    data_entry: tuple[str, DataEntry],
    split_entry: tuple[str, SplitEntry],
) -> Cell:
    (data, entry), (split, chosen) = data_entry, split_entry
    path = given or entry.path
    place = [] if path is None else [f"data.path={json.dumps(str(path))}"]
    models = tuple(name for name in experiment.models if chosen.models is None or name in chosen.models)

    def base(own: Sequence[str]) -> Config:
        settings = [*experiment.settings, *entry.settings, *chosen.settings, *place, *own, *overrides]
        found = configuration.load(None if entry.config is None else file.parent / entry.config, settings)
        return _with_defaults(found, folder)

    bases = {
        name: base([f"model.kind={json.dumps(experiment.kind(name))}", *experiment.models[name].settings])
        for name in models
    }
    bases[""] = base([])
    where = bases[""].data.path
    if where is not None and not where.exists():
        raise ConfigError(
            f"data.path={where}: there is no such folder; give it with data.path=FOLDER or --data {data}=FOLDER"
        )
    trials = {}
    for name in models:
        if chosen.chosen_on is None:
            for setting, space in experiment.models[name].search.items():
                check_setting(setting, space, bases[name])
            trials[name] = draws(
                experiment.models[name].search, bases[name], experiment.trials, name, experiment.search_seed
            )
            for one in trials[name]:
                with_settings(bases[name], one)  # Contradicting settings are refused before anything runs.
    cell = Cell(
        data,
        split,
        chosen,
        models,
        bases,
        trials,
        experiment.baselines if chosen.baselines is None else chosen.baselines,
        chosen.seeds or experiment.seeds,
    )
    subsets = subsets_of(bases[experiment.first]) if chosen.subsets else []
    ours_without = [f"{experiment.first}-without-{name}" for name in ABLATIONS if chosen.ablations]
    ours_only = [f"{experiment.first}-only-{subset_word(subset, bases[experiment.first])}" for subset in subsets]
    longest = max((*models, *ours_without, *ours_only), key=len)
    what = "the names of the data set, the split and the model together"
    check_room(what, len(cell.name + longest), f"{cell.name}-{longest}-trial{experiment.trials}")
    if chosen.ablations:
        absent = [f"model.{name}" for name in ABLATIONS if not getattr(bases[experiment.first].m3csr, name)]
        if absent:
            raise ConfigError(f"ablations start from the full model, but {', '.join(absent)} is off")
    return cell


def _with_defaults(config: Config, folder: Path) -> Config:
    """Adds the defaults of an experiment: one thread for each run, curves of all lengths, and no bootstrap intervals.

    A setting that is given wins.
    """
    run = {"folder": folder, "overwrite": True}
    if "threads" not in config.run.model_fields_set:
        run["threads"] = 1
    evaluation: dict[str, Any] = {"baselines": ()}
    given = config.evaluation.model_fields_set
    if "top_n" not in given:
        evaluation["top_n"] = tuple(sorted({*range(1, LONGEST_CURVE + 1), 50}))
    if "bootstrap" not in given:
        evaluation["bootstrap"] = 0
    return config.model_copy(
        update={
            "run": config.run.model_copy(update=run),
            "evaluation": config.evaluation.model_copy(update=evaluation),
        }
    )


def named(config: Config, name: str, seed: int = 0) -> Config:
    """Returns the configuration with the name and the seed of one run."""
    return config.model_copy(update={"run": config.run.model_copy(update={"name": name, "seed": seed})})


def within_budget(config: Config, clicks: int, epochs: float) -> Config:
    """Returns the configuration with a training of at most `epochs` passes over the training clicks.

    Args:
      config: the configuration of a run.
      clicks: number of training clicks of its data.
      epochs: the largest number of passes.
    """
    if Budget.of(config.training, clicks).epochs <= epochs:
        return config
    return config.model_copy(
        update={"training": config.training.model_copy(update={"epochs": epochs, "max_steps": None})}
    )


def prepared_name(cell: str, config: Config) -> str:
    """Returns the name of the run that prepares the data which all runs with this configuration share."""
    return f"{cell}-data-{config.fingerprint(*PREPARE_SECTIONS)[:8]}"


def subsets_of(config: Config) -> list[tuple[str, ...]]:
    """Returns all non-empty proper subsets of the modalities, smaller ones first.

    Raises:
      ConfigError: there is a single modality, or the data are a synthetic world. The clicks of a world come from all of
        its modalities, so that a world with fewer modalities is another world.
    """
    names = config.data.modality_names
    if config.data.format == "world":
        raise ConfigError(
            "subsets: modalities cannot be taken from data.format=world, whose clicks they make; set subsets: 0"
        )
    if len(names) < 2:
        raise ConfigError(f"subsets: the data has one modality alone, {names[0]}; set subsets: 0")
    return [subset for size in range(1, len(names)) for subset in itertools.combinations(names, size)]


def subset_word(subset: Sequence[str], config: Config) -> str:
    """Returns the name of a subset of the modalities in names of runs, e.g. visual_textual; it differs for each subset.

    If the name of a modality has an underscore, the names are joined by dashes, which no modality may have: with
    underscores, a and b would have the name of a_b.
    """
    return ("-" if any("_" in name for name in config.data.modality_names) else "_").join(subset)


def of_subset(config: Config, subset: Sequence[str]) -> Config:
    """Returns the configuration with only some of its modalities."""
    kept = {name: place for name, place in config.data.modalities.items() if name in subset}
    return config.model_copy(update={"data": config.data.model_copy(update={"modalities": kept})})


def of_ablation(config: Config, ablation: str) -> Config:
    """Returns the configuration of M3CSR without one of its components."""
    return config.model_copy(update={"model": config.m3csr.model_copy(update={ablation: False})})
