"""The settings in the file of an experiment: models with search spaces, data sets with splits, and their budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationError, model_validator

from m3csr_tf.config import KINDS, LARGEST_SEED, BaselineName, Section, read_mapping
from m3csr_tf.config.models import section_of
from m3csr_tf.config.problems import of_file
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.sweep.space import SearchedValues
from m3csr_tf.util.names import Name
from m3csr_tf.util.quoting import quoted

QUICK = "quick"
OWNED = ("run.name", "run.seed", "run.folder", "run.overwrite", "model.kind", "data.path")
"""Settings that an entry of the file must not give: the experiment sets them, or has a key of its own for them."""


class SplitEntry(Section):
    """A split of a data set, and what is run on it."""

    settings: tuple[str, ...] = Field((), description="settings of this split, e.g. split.cold_share=0.2")
    models: tuple[Name, ...] | None = Field(None, description="models to run on it; all without a list")
    baselines: Literal["tuned"] | tuple[BaselineName, ...] | None = Field(
        None, description="closed-form baselines on it, in place of those of the experiment"
    )
    chosen_on: Name | None = Field(
        None, description="another split of the same data set, whose chosen settings are taken instead of a search"
    )
    seeds: int | None = Field(None, ge=1, description="run seeds of each model, in place of those of the experiment")
    ablations: int = Field(0, ge=0, description="run seeds of each ablation of M3CSR (Table 3); 0 for none")
    subsets: int = Field(
        0,
        ge=0,
        description="run seeds of M3CSR trained on each smaller set of modalities (Figs. 4 and 5); 0 for none",
    )


class DataEntry(Section):
    """A data set with its splits."""

    config: Path | None = Field(None, description="YAML file of settings, from the folder of the experiment's file")
    path: Path | None = Field(None, description="folder of the data, data.path; here, by --data or by data.path=FOLDER")
    settings: tuple[str, ...] = Field((), description="settings of this data set, section.name=value")
    splits: dict[Name, SplitEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> DataEntry:
        for name, split in self.splits.items():
            if split.chosen_on is None:
                continue
            known = [other for other, entry in self.splits.items() if other != name and entry.chosen_on is None]
            if split.chosen_on not in known:
                raise ValueError(
                    f"splits.{name}.chosen_on is {quoted(split.chosen_on)}; expected another split of the data set "
                    f"that has a search of its own ({', '.join(known) or 'there is none'})"
                )
            _check_searched(name, split, self.splits[split.chosen_on])
        return self


class ModelEntry(Section):
    """A model that is trained in the experiment."""

    kind: str | None = Field(None, description="model.kind; without one, the name of the entry")
    title: str | None = Field(None, min_length=1, description="what tables call it; without one, its name")
    settings: tuple[str, ...] = Field((), description="settings of this model, section.name=value")
    search: dict[str, SearchedValues] = Field(
        {}, description="settings that the trials vary, name: {values: [...]} or {low, high, log, step}"
    )


class ExperimentFile(Section):
    """The whole file of an experiment."""

    name: Name | None = Field(None, description="the experiment lies in <run.folder>/<name>/; else the file's name")
    seeds: int = Field(3, ge=1, description="run seeds 0 to seeds - 1 of each chosen setting")
    trials: int = Field(4, ge=1, description="settings tried for each model, its own first; the same number for all")
    epochs: float = Field(
        200.0, gt=0, description="passes over the training clicks that a training of any model may take at most"
    )
    search_seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of the draw of the trials' settings")
    settings: tuple[str, ...] = Field((), description="settings of all runs; those of an entry come after them")
    ours: Name | None = Field(None, description="the model that is compared with the others; the first without a name")
    baselines: Literal["tuned"] | tuple[BaselineName, ...] = Field(
        "tuned", description="closed-form baselines, each tuned by its grid"
    )
    models: dict[Name, ModelEntry] = Field(min_length=1)
    data: dict[Name, DataEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ExperimentFile:
        for name, model in self.models.items():
            kind = model.kind or name
            if section_of(kind) is None:
                raise ValueError(
                    f"models.{name}: there is no model.kind {quoted(kind)}; expected one of {', '.join(KINDS)}, or "
                    "kind: file.py:Class for a model of your own"
                )
        titles = [self.title(name) for name in self.models]
        taken = [title for title in titles if titles.count(title) > 1 or title in get_args(BaselineName)]
        if taken:
            raise ValueError(f"models: {quoted(taken[0])} would be the title of two systems; give each its own title")
        if self.ours is not None and self.ours not in self.models:
            raise ValueError(f"ours is {quoted(self.ours)}, but models are {', '.join(self.models)}")
        for place, overrides in self._overrides().items():
            owned = [one for one in overrides if one.partition("=")[0].strip() in OWNED]
            if owned:
                raise ValueError(
                    f"{place}: {quoted(owned[0])} is the experiment's own; use its name, seeds, kind or path"
                )
        for data, entry in self.data.items():
            for split, split_entry in entry.splits.items():
                self._check_split(f"data.{data}.splits.{split}", split_entry)
        return self

    def _check_split(self, place: str, split: SplitEntry) -> None:
        unknown = [name for name in split.models or () if name not in self.models]
        if unknown:
            raise ValueError(f"{place}.models: {quoted(unknown[0])} is no model of the file ({', '.join(self.models)})")
        if (split.ablations or split.subsets) and self.kind(self.first) != "m3csr":
            raise ValueError(
                f"{place}: ablations and subsets are of model.kind=m3csr, and ours is {self.first}, of model.kind="
                f"{self.kind(self.first)}; set ours, or drop them"
            )
        if split.models is not None and self.first not in split.models:
            raise ValueError(f"{place}.models: {self.first}, the model that is compared with the others, is missing")

    def _overrides(self) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {"settings": self.settings}
        found |= {f"models.{name}.settings": model.settings for name, model in self.models.items()}
        for name, entry in self.data.items():
            found[f"data.{name}.settings"] = entry.settings
            found |= {f"data.{name}.splits.{one}.settings": split.settings for one, split in entry.splits.items()}
        return found

    @property
    def first(self) -> str:
        """The name of the model that is compared with the others."""
        return self.ours or next(iter(self.models))

    def kind(self, model: str) -> str:
        """Returns the kind of a model of the file."""
        return self.models[model].kind or model

    def title(self, model: str) -> str:
        """Returns the name of a model of the file in tables."""
        return self.models[model].title or model


def read_experiment(file: Path, quick: bool = False) -> ExperimentFile:
    """Reads the file of an experiment.

    Args:
      file: a YAML file.
      quick: whether the entries of its section `quick` replace others of the same name.

    Raises:
      ConfigError: the file is missing or malformed, or lacks the section `quick` although `quick` is set.
    """
    tree = read_mapping(file, "experiment", "--config", "with models and data")
    variant = tree.pop(QUICK, None)
    if quick:
        if not isinstance(variant, Mapping):
            raise ConfigError(f"{file}: --quick needs a section quick with entries that replace others of the file")
        tree |= variant
    try:
        return ExperimentFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(of_file(error, file)) from None


def _check_searched(name: str, split: SplitEntry, other: SplitEntry) -> None:
    if other.models is None:
        return
    lacking = [model for model in split.models or () if model not in other.models]
    if split.models is None or lacking:
        which = lacking[0] if lacking else "every model"
        raise ValueError(f"splits.{name}: {which} is not run on {split.chosen_on}, so nothing is chosen for it there")
