"""Opens a finished run for a verb, and computes what several verbs need of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from m3csr_tf import columns, exposure
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation.cold_items import items_then
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training import finished as endings
from m3csr_tf.training import run_files
from m3csr_tf.training.final_fit import ALL_CLICKS, FINAL_FIT, choice_digest, final_settings
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.vectors import UserVectors, VectorEncoder
from m3csr_tf.util.progress import PERCENT, progress


def load_run(config: Config, judged: bool = False) -> TrainedRun:
    """Opens the finished run that the configuration names.

    The run gets the given settings, because those of evaluation, index and retrieval may differ from its training.

    Args:
      config: names the run.
      judged: whether the run is to be evaluated on validation and test clicks, which is refused for a final fit.

    Raises:
      RunError: a run with other settings of data or training lies under this name, it has not finished, or nothing can
        judge it.
    """
    config = _same_training(config)
    trained = dataclasses.replace(load_trained(config.run_folder), config=config)
    chose = config.training.final_of
    if judged and chose is not None:
        raise RunError(
            f"{config.run_folder}: is a final fit, whose metrics are those of the run that chose; name that one "
            f"(--config {config.run.folder / chose / run_files.CONFIG_FILE}), whose evaluation also judges a final fit "
            "with training.final_clicks=train_val on test"
        )
    return trained


def load_released(config: Config) -> TrainedRun:
    """Opens the run from which a release is made: with `training.final_fit` the final fit, otherwise the run itself.

    Raises:
      RunError: for the same reasons as in `load_run`, or the final fit is missing or unfinished, or the run that chose
        its settings was trained anew since.
    """
    config = _same_training(config)
    if not config.training.final_fit:
        return load_run(config)
    finished = endings.read(config.run_folder)
    settings = final_settings(config, finished)
    again = "run pipelines/train.py --final"
    if not (settings.run_folder / run_files.CONFIG_FILE).exists():
        raise RunError(f"{settings.run_folder}: there is no final fit of {config.run.name} yet; {again}")
    final = load_run(settings)
    if final.finished[FINAL_FIT]["finished"] != choice_digest(config.run_folder):
        raise RunError(
            f"{settings.run_folder}: run {config.run.name} was trained anew since this final fit of it; {again} with "
            "run.overwrite=true"
        )
    return final


def judge_of(trained: TrainedRun) -> TrainedRun:
    """Returns the run whose test clicks judge a run: for a final fit on all clicks the run that chose, else the run.

    Raises:
      RunError: for the same reasons as in `open_choice`.
    """
    of = trained.finished.get(FINAL_FIT)
    return trained if of is None or of["clicks"] != ALL_CLICKS else run_that_chose(trained)


def run_that_chose(trained: TrainedRun) -> TrainedRun:
    """Opens the run that chose the settings of a final fit, with the final fit's settings of all that follows training.

    Raises:
      RunError: for the same reasons as in `open_choice`.
    """
    return open_choice(trained.config, trained.finished[FINAL_FIT])


def open_choice(config: Config, of: Mapping[str, Any]) -> TrainedRun:
    """Opens the run that chose the settings of a final fit.

    Args:
      config: its `run.folder` is the folder in which runs lie; the run gets its settings of all that follows training.
      of: the field FINAL_FIT of the final fit's finished.json, or of its release's manifest.

    Raises:
      RunError: the run is missing or broken, or was trained anew since the final fit.
    """
    folder = config.run.folder / str(of["run"])
    chose = load_trained(folder)
    if choice_digest(folder) != of["finished"]:
        raise RunError(f"{folder}: was trained anew since the final fit of it, so nothing can judge that final fit")
    later = {name: getattr(config, name) for name in ("cold", "evaluation", "exposure", "release", "index", "retrieve")}
    places = {"release_folder": config.run.release_folder, "release_name": config.release_folder.name}
    run = chose.config.run.model_copy(update=places)
    return dataclasses.replace(chose, config=chose.config.model_copy(update={**later, "run": run}))


def _same_training(config: Config) -> Config:
    """Returns the configuration as the run of its name was trained (`as_trained`).

    Raises:
      RunError: the run was trained with other settings than those of the configuration.
    """
    config = run_files.as_trained(config)
    found = run_files.differing(config)
    if found:
        raise RunError(
            f"{config.run_folder}: the run was trained with other settings ({'; '.join(found[:4])}); "
            f"pass the settings it was trained with (--config {config.run_folder / run_files.CONFIG_FILE}), "
            "or train it again"
        )
    return config


def vectors_of(trained: TrainedRun, encoder: VectorEncoder) -> Vectors:
    """Computes the model's own vectors of all users and items, without the bonuses of `bonuses`.

    Users are represented by their training clicks alone, because metrics and bonuses are computed with these vectors.
    """
    with progress("item vectors, items") as stage:
        items = encoder.items(stage)
    return Vectors(UserVectors(encoder, Audience(trained.prepared, trained.config, (columns.TRAIN,))), items)


def bonuses(trained: TrainedRun, vectors: Vectors) -> np.ndarray:
    """Calibrates the bonus of each popularity bin, float32 [bins], which evaluation and release add alike.

    With settings of section `cold`, cold items are those that were cold when validation begins. The bonuses of a final
    fit are calibrated with its own vectors. The fraction of the shares that validation allows is taken from the run
    that chose its settings, since a final fit has no validation clicks.

    Raises:
      RunError: for the same reasons as in `open_choice`.
    """
    part = None
    if FINAL_FIT in trained.finished:
        part = 1.0
        if trained.config.exposure.cold_share == "catalogue":
            chose = run_that_chose(trained)
            plain = vectors_of(chose, VectorEncoder(chose.model, item_features(chose.prepared)))
            part = _calibrated(chose, plain, None).part
    return _calibrated(trained, vectors, part).bonuses


def _calibrated(trained: TrainedRun, vectors: Vectors, part: float | None) -> exposure.Calibration:
    """Calibrates the bonuses for the vectors of a run; `part` is that of `exposure.calibrate`."""
    config = trained.config
    then = items_then(trained.prepared, columns.VAL, config.cold)
    with progress(f"calibrating how often new items are shown, {PERCENT}") as stage:
        return exposure.calibrate(
            trained.prepared,
            *vectors,
            config.exposure,
            config.run.seed,
            config.evaluation.block,
            on_progress=stage,
            part=part,
            cold=None if then is None else then.cold,
        )
