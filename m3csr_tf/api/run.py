"""Trains from data frames, and returns the finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf import config as configuration
from m3csr_tf.api.frames import as_path, as_table, as_verb, inputs_of
from m3csr_tf.api.release import Release
from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, InputError
from m3csr_tf.training import run_files
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular
from m3csr_tf.util.quoting import quoted
from m3csr_tf.verbs import evaluate as evaluation
from m3csr_tf.verbs import release as releasing
from m3csr_tf.verbs import train as training

INPUTS = "input"
"""Ending of the name of the folder that holds the frames of a run: NAME-input, beside the folder of run NAME."""


class Run:
    """A finished run, as `pipelines/train.py` leaves it.

    Args:
      config: the resolved configuration of the run.
      verbose: print what the verbs print.
    """

    def __init__(self, config: Config, verbose: bool = False) -> None:
        self.config = config
        self._verbose = verbose

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.config.run.name

    @property
    def folder(self) -> Path:
        """The folder of the run's configuration, logs, checkpoints and metrics."""
        return self.config.run_folder

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The metrics of the run and of the baselines of `evaluation.baselines`.

        On first use the run is evaluated, as `pipelines/evaluate.py` does.

        Returns:
          A row for each split, system and slice: split, system, slice, users (their number), then metrics (recall@20,
          ...), which are NaN if the slice has no user. docs/data.md says what the slices are.
        """
        with as_verb(self._verbose):
            evaluation.evaluate(self.config)
        return _rows(parse_json(regular(self.folder / run_files.METRICS_FILE).read_bytes()))

    def release(self, folder: str | Path | None = None, again: bool = False, anyway: bool = False) -> Release:
        """Publishes towers and index as one new version, which becomes current, as `pipelines/release.py` does.

        Args:
          folder: `<release folder>/<release name>`; None takes the settings of the run, by default
            `saved_models/<name of the run>`.
          again: publish the run even if it is the current version already.
          anyway: publish the run even if `release.max_loss` refuses it; the manifest records this.

        Returns:
          The opened release, which takes the histories of users from the log of this run.

        Raises:
          InputError: `folder` is not a path.
          ReleaseError: the run's Recall@20 is significantly below that of the current version (`release.max_loss`), or
            a part cannot be published.
        """
        config = self.config
        if folder is not None:
            place = as_path(folder, "release: folder")
            settings = {"run.release_folder": str(place.parent), "run.release_name": place.name}
            config = configuration.with_settings(config, settings)
        with as_verb(self._verbose):
            released = releasing.publish(config, again, anyway)
        return Release(released, config)

    def __repr__(self) -> str:
        return f"<m3csr_tf run {self.name} ({self.config.model.kind}) in {self.folder}>"


def train(
    *,
    interactions: pd.DataFrame | None = None,
    catalogue: pd.DataFrame | None = None,
    modalities: Sequence[str] | Mapping[str, str] | None = None,
    split: str | None = None,
    name: str | None = None,
    final_fit: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    verbose: bool = False,
) -> Run:
    """Prepares data and trains a model, or continues a training that was stopped, as `pipelines/train.py` does.

    The frames are written to `runs/NAME-input/`. A run of that name that was trained on other frames is refused. If the
    run is finished already, the same call returns it without training.

    Args:
      interactions: a row for each interaction: user_id, item_id, and optionally timestamp, weight and split
        (docs/data.md).
      catalogue: a row for each item: item_id, a column of vectors for each modality (in each cell a list or an array,
        or None if the item lacks the modality), and optionally view_count, publish_time, title, image and url.
      modalities: names of the columns of vectors, or a mapping from the name of each modality to its column.
      split: "auto", "given", "time" or "random" (`split.kind`).
      name: name of the run (`run.name`).
      final_fit: whether to fit the same recipe on all clicks afterwards (`training.final_fit`). `Run.release` publishes
        that final fit, but `Run.metrics` are those of the run that chose the recipe on validation.
      settings: further settings by their dotted names, e.g. {"training.epochs": 3}; `m3csr settings` lists all.
      config: YAML file of settings, which all other arguments override. Without frames, it or `settings` must say where
        the data are.
      verbose: print what the verbs print.

    Returns:
      The finished run.

    Raises:
      ConfigError: a setting is unknown, mistyped, contradictory, or given twice.
      InputError: a frame is missing or malformed, or `modalities` does not fit the catalogue.
      RunError: the run's name is taken by another run.
    """
    if settings is not None and not (isinstance(settings, Mapping) and all(isinstance(one, str) for one in settings)):
        raise ConfigError(
            f'train: settings is {quoted(settings)}; expected a mapping of dotted names, e.g. {{"training.epochs": 3}}'
        )
    given = dict(settings or {})
    frames: AbstractContextManager[None] = nullcontext()
    for setting, value in (("run.name", name), ("split.kind", split), ("training.final_fit", final_fit)):
        if value is not None:
            _put(given, setting, value)
    if (interactions is None) != (catalogue is None):
        lacking = "interactions" if interactions is None else "catalogue"
        raise InputError(f"train: {lacking} is missing; give both frames, or none and say where data lie (config)")
    if interactions is None or catalogue is None:
        if modalities is not None:
            raise InputError("train: modalities are columns of the frame catalogue, which is missing")
        resolved = _load(config, given)
    else:
        _put(given, "data.format", "table")
        _put(given, "data.modalities", _columns(modalities, catalogue))
        # Both frames are checked before anything is written.
        as_table(interactions, "interactions"), as_table(catalogue, "catalogue")
        run = _load(config, given, without_data=True).run
        folder = run.folder / f"{run.name}-{INPUTS}"
        _put(given, "data.path", str(folder))
        resolved = _load(config, given)
        frames = inputs_of(resolved.run_folder, folder, {"interactions": interactions, "catalogue": catalogue})
    with as_verb(verbose), frames:
        trained = training.train(resolved)
    return Run(trained.config, verbose)


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Adds a setting that has an argument of its own, which may not be among `settings` as well."""
    if name in settings:
        raise ConfigError(f"train: {name} is given in settings and beside them; give it once")
    settings[name] = value


def _columns(modalities: Sequence[str] | Mapping[str, str] | None, catalogue: pd.DataFrame) -> dict[str, str]:
    """Returns modality -> its column in the catalogue, after checking both."""
    if not modalities:
        raise InputError('train: modalities is missing; name the columns of vectors, e.g. ["visual", "acoustic"]')
    if isinstance(modalities, str) or not isinstance(modalities, Mapping | Sequence):
        raise InputError(
            f"train: modalities is {quoted(modalities)}; expected a list of columns, or a mapping from names to columns"
        )
    twice = [one for one in modalities if list(modalities).count(one) > 1]
    if twice:
        raise InputError(f"train: modalities names {quoted(twice[0])} twice; name each column once")
    named = dict(modalities) if isinstance(modalities, Mapping) else {one: one for one in modalities}
    if not all(isinstance(one, str) for pair in named.items() for one in pair):
        raise InputError(f"train: modalities is {quoted(modalities)}; expected names of columns, which are text")
    if isinstance(catalogue, pd.DataFrame) and "*" not in "".join(named.values()):
        there = [*catalogue.columns, *catalogue.index.names]
        for name, column in named.items():
            if column.split(":")[0] not in there:
                raise InputError(
                    f"catalogue: column {column} of modality {name} is missing; found "
                    f"{', '.join(map(str, catalogue.columns))}"
                )
    return named


def _load(config: str | Path | None, settings: Mapping[str, Any], without_data: bool = False) -> Config:
    overrides = [f"{name}={_as_yaml(name, value)}" for name, value in settings.items()]
    path = None if config is None else as_path(config, "train: config")
    return configuration.load(path, overrides, without_data=without_data)


def _as_yaml(name: str, value: Any) -> str:
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False)
    except TypeError:
        raise ConfigError(f"{name}={quoted(value)}: a setting is a text, a number, a list or a mapping") from None


def _plain(value: Any) -> Any:
    """Converts values that JSON cannot hold: a path to a text, and a number of NumPy to Python's.

    Raises:
      TypeError: the value is of another type.
    """
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # A number of NumPy.
        return value.item()
    raise TypeError


def _rows(tree: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the contents of metrics.json as the rows of `Run.metrics`."""
    systems = {tree["model"]["title"]: tree, **tree["baselines"]}
    rows = []
    for split in ("test", "val"):
        for system, of_system in systems.items():
            for part, figures in of_system[split].items():
                numbers = {metric: value for metric, value in figures.items() if metric not in ("ci", "users", "of")}
                rows.append({"split": split, "system": system, "slice": part, "users": figures["users"], **numbers})
    return pd.DataFrame(rows)
