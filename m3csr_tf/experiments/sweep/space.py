"""The space of a sweep, a YAML file: the settings to search, and the tasks by which they are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError, model_validator

from m3csr_tf.config import RUN_IDENTITY, TRAINING_SECTIONS, Config, Section, read_mapping, renamed, with_settings
from m3csr_tf.config.problems import of_file
from m3csr_tf.errors import ConfigError
from m3csr_tf.evaluation import metrics, report
from m3csr_tf.util.names import LONGEST_NAME, Name
from m3csr_tf.util.quoting import printable, quoted

_SLICES = (report.ALL, report.WARM, report.COLD, report.FEW, report.TAIL, report.COLD_ONLY)
_EVALUATION_SECTIONS = ("data", "split")
"""Sections that define on what a trial is evaluated; a search of these would choose the easiest question, not the best
answer.
"""
_ALIGNED = 1e-9  # How far a range may be from a whole number of steps.


class Task(Section):
    """One training of a trial, and the metric of its validation users that counts.

    The score of a trial is the sum over its tasks of weight * metric / reference.
    """

    metric: str = Field(description="SLICE/METRIC, as in metrics.json, e.g. all/recall@20")
    weight: float = Field(1.0, gt=0)
    reference: float = Field(1.0, gt=0, description="a usual value of the metric, so that tasks are of one scale")
    overrides: tuple[str, ...] = Field((), description="settings of this task alone, section.name=value")

    @property
    def slice_and_metric(self) -> tuple[str, str]:
        """The slice and the metric in `metric`."""
        slice_name, _, metric = self.metric.partition("/")
        return slice_name, metric


class SearchedValues(Section):
    """The values that a setting may take: a list or a range."""

    values: tuple[bool | int | float | str, ...] | None = Field(None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="draw evenly in the logarithm")
    step: int | float | None = Field(None, gt=0, description="only low, low + step, ... up to high")

    @model_validator(mode="after")
    def _check(self) -> SearchedValues:
        if self.values is not None:
            if self.model_fields_set != {"values"}:
                raise ValueError("give values, or low and high, not both")
            if len({repr(value) for value in self.values}) < len(self.values):
                raise ValueError(f"values are listed twice in {quoted(list(self.values))}")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give values: [...], or low and high")
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        if self.step is not None and not self._aligned(self.high):
            raise ValueError(
                f"high must be a whole number of steps above low, got {self.low}, {self.high}, {self.step}"
            )
        return self

    def holds(self, value: Any) -> bool:
        """Returns whether a value is one of these; None, which follows from the data, is in no range."""
        if self.values is not None:
            return value in self.values
        if value is None:
            return False
        low, high = self.ends
        return low <= value <= high and (self.step is None or self._aligned(value))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of a range."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def _aligned(self, value: float) -> bool:
        assert self.step is not None
        steps = (value - self.ends[0]) / self.step
        return abs(steps - round(steps)) < _ALIGNED


class SearchSpace(Section):
    """The whole file of a sweep."""

    name: Name = Field(description="the sweep lies in <run.folder>/<name>/")
    tasks: dict[Name, Task] = Field(min_length=1)
    settings: dict[str, SearchedValues] = Field(min_length=1)


def load_space(path: Path, base: Config) -> SearchSpace:
    """Reads a space, and checks it against the configuration that its trials vary.

    Raises:
      ConfigError: the file is missing or malformed; a setting is unknown, does not affect training, has another type
        than its range, or is also fixed by a task; a task's metric does not exist, or its overrides do not fit `base`.
    """
    tree = read_mapping(path, "space", "--space", "with name, tasks and settings")
    try:
        space = SearchSpace.model_validate(tree)
        for name, setting in space.settings.items():
            check_setting(name, setting, base)
        for name, task in space.tasks.items():
            _check_task(name, task, space, base)
    except ValidationError as error:
        raise ConfigError(of_file(error, path)) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return space


def value_of(config: Config, name: str) -> Any:
    """Returns the value of a setting by its dotted name.

    Raises:
      ConfigError: there is no such setting.
    """
    found: Any = config
    for part in name.split("."):
        if not isinstance(found, Section) or part not in type(found).model_fields:
            raise ConfigError(
                f"unknown setting {printable(name)[:LONGEST_NAME]}; {renamed.advice(name, config.model.kind)}"
            )
        found = getattr(found, part)
    return found


def number_of(config: Config, name: str) -> type[int] | type[float] | None:
    """Returns int or float if a setting is such a number, also if it follows from the data now; otherwise None.

    Raises:
      ConfigError: there is no such setting.
    """
    current = value_of(config, name)
    kinds: tuple[Any, ...] = (type(current),)
    if current is None:
        section, _, own = name.rpartition(".")
        kinds = get_args(type(value_of(config, section)).model_fields[own].annotation)
    return int if int in kinds else float if float in kinds else None


def check_setting(name: str, setting: SearchedValues, base: Config) -> None:
    """Checks a setting of a search against the configuration that the search varies.

    Raises:
      ConfigError: the setting is unknown, does not affect training, or has another type than its range.
    """
    current, section = value_of(base, name), name.partition(".")[0]
    if section not in TRAINING_SECTIONS or section in _EVALUATION_SECTIONS:
        searched = ", ".join(part for part in TRAINING_SECTIONS if part not in _EVALUATION_SECTIONS)
        raise ConfigError(f"settings.{name}: cannot be searched; take settings of {searched}")
    if isinstance(current, Section | dict | tuple):
        raise ConfigError(f"settings.{name}: has no single value, so it cannot be searched")
    numbers = [value for value in (setting.low, setting.high, setting.step) if value is not None]
    kind = number_of(base, name)
    if numbers and kind is None:
        raise ConfigError(f"settings.{name}: is no number, so it needs values: [...] instead of a range")
    if kind is int and not all(type(value) is int for value in numbers):
        raise ConfigError(f"settings.{name}: is a whole number, got the range {numbers}")
    if kind is not None:
        for value in setting.values or ():
            if type(value) not in (int, float) and (value is not None or current is not None):
                raise ConfigError(f"settings.{name}: is a number, got {quoted(value)}")


def _check_task(name: str, task: Task, space: SearchSpace, base: Config) -> None:
    config = with_settings(base, {}, task.overrides)
    known = [f"{part}/{figure}@{n}" for part in _SLICES for figure in _FIGURES for n in config.evaluation.top_n]
    if task.metric not in known:
        raise ConfigError(f"tasks.{name}.metric: no metric {quoted(task.metric)}; expected one of {', '.join(known)}")
    for override in task.overrides:
        setting = override.partition("=")[0]
        if setting in space.settings:
            raise ConfigError(f"tasks.{name}.overrides: {setting} is searched, so no task can fix it; drop one of them")
        section, _, own = setting.partition(".")
        if section == "run" and own not in RUN_IDENTITY:
            raise ConfigError(f"tasks.{name}.overrides: {setting} is the sweep's own; pass it on the command line")


_FIGURES = (metrics.RECALL, metrics.PRECISION, metrics.NDCG)
