"""Training from data frames, and the run that comes of it."""

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
"""Folder NAME-input beside that of run NAME: the frames that it was trained on."""


class Run:
    """A finished run, as `pipelines/train.py` leaves it.

    Args:
      config: its resolved configuration.
      verbose: print what the verbs print.
    """

    def __init__(self, config: Config, verbose: bool = False) -> None:
        self.config = config
        self._verbose = verbose

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.run.name

    @property
    def folder(self) -> Path:
        """Where its configuration, logs, checkpoints and metrics lie."""
        return self.config.run_folder

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """How well it ranks, beside the baselines of `evaluation.baselines`: `pipelines/evaluate.py`, run on first use.

        Returns:
          A row for each split, system and slice: split, system, slice, users, then metrics (recall@20, ...); NaN where
          a slice has no user. docs/data.md says what the slices are.
        """
        with as_verb(self._verbose):
            evaluation.evaluate(self.config)
        return _rows(parse_json(regular(self.folder / run_files.METRICS_FILE).read_bytes()))

    def release(self, folder: str | Path | None = None, again: bool = False, anyway: bool = False) -> Release:
        """Publishes towers and index as one new version, which becomes the current one: `pipelines/release.py`.

        Args:
          folder: `<release folder>/<release name>`; `saved_models/<name of the run>` when None.
          again: publish also a run that is the current version already.
          anyway: publish also a run that `release.max_loss` refuses; the manifest records it.

        Returns:
          The release, opened; it knows who clicked what from the run.

        Raises:
          ReleaseError: it finds significantly less than the current version (`release.max_loss`), or a part of it
            cannot be published.
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
    """Prepares and trains, or goes on with a training that was stopped: `pipelines/train.py`.

    The frames are written to `runs/NAME-input/`, and a run of that name which was trained on others is refused, as by
    the verb. The same call again trains nothing.

    Args:
      interactions: user_id, item_id, and perhaps timestamp, weight and split, a row an interaction (docs/data.md).
      catalogue: item_id, a column of vectors for each modality (a list or array a row; None where an item lacks it),
        and perhaps view_count, publish_time, title, image and url.
      modalities: the columns of vectors, or a mapping from what a modality is to be called to its column.
      split: "auto", "given", "time" or "random" (`split.kind`).
      name: of the run (`run.name`).
      final_fit: whether to fit the same recipe on all clicks then (`training.final_fit`), which is what `Run.release`
        publishes; `Run.metrics` stay those of the choice on validation.
      settings: further settings by their dotted names, e.g. {"training.epochs": 3}; `m3csr settings` lists all.
      config: YAML file of settings. What is given here goes before it. Without frames, it says where data lie.
      verbose: print what the verbs print.

    Returns:
      The finished run.

    Raises:
      ConfigError: a setting is unknown, mistyped, contradictory, or given twice.
      InputError: a frame is malformed.
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
        as_table(interactions, "interactions"), as_table(catalogue, "catalogue")  # Before anything is written.
        run = _load(config, given, without_data=True).run
        folder = run.folder / f"{run.name}-{INPUTS}"
        _put(given, "data.path", str(folder))
        resolved = _load(config, given)
        frames = inputs_of(resolved.run_folder, folder, {"interactions": interactions, "catalogue": catalogue})
    with as_verb(verbose), frames:
        trained = training.train(resolved)
    return Run(trained.config, verbose)


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    if name in settings:
        raise ConfigError(f"train: {name} is given in settings and beside them; give it once")
    settings[name] = value


def _columns(modalities: Sequence[str] | Mapping[str, str] | None, catalogue: pd.DataFrame) -> dict[str, str]:
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
    """A path as text, and a number of NumPy as Python's; what JSON cannot say otherwise.

    Raises:
      TypeError: it is something else.
    """
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # A number of NumPy.
        return value.item()
    raise TypeError


def _rows(tree: Mapping[str, Any]) -> pd.DataFrame:
    systems = {tree["model"]["title"]: tree, **tree["baselines"]}
    rows = []
    for split in ("test", "val"):
        for system, of_system in systems.items():
            for part, figures in of_system[split].items():
                numbers = {metric: value for metric, value in figures.items() if metric not in ("ci", "users", "of")}
                rows.append({"split": split, "system": system, "slice": part, "users": figures["users"], **numbers})
    return pd.DataFrame(rows)
