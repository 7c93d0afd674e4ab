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
      judged: whether validation and test clicks are to judge it; a final fit has no validation clicks.

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
    """Opens the run that a release of the configuration comes from: the final fit where there is to be one.

    Raises:
      RunError: as `load_run`; or the final fit is missing or unfinished, or the run that chose was trained anew since.
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
    """The run whose test clicks judge a run: of a final fit on all clicks the one that chose, of any other itself.

    Raises:
      RunError: as `run_that_chose`.
    """
    of = trained.finished.get(FINAL_FIT)
    return trained if of is None or of["clicks"] != ALL_CLICKS else run_that_chose(trained)


def run_that_chose(trained: TrainedRun) -> TrainedRun:
    """The run whose choices a final fit has taken over.

    It gets the settings of `trained` for all that follows training.

    Raises:
      RunError: the run that chose is missing or broken, or was trained anew since.
    """
    return open_choice(trained.config, trained.finished[FINAL_FIT])


def open_choice(config: Config, of: Mapping[str, Any]) -> TrainedRun:
    """Opens the run that chose.

    Args:
      config: says in `run.folder` where runs lie, and gives the settings of all that follows training.
      of: the field FINAL_FIT of the final fit's finished.json, or of its release's manifest.

    Raises:
      RunError: it is missing or broken, or was trained anew since.
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
    """The configuration as the run of its name was trained (`as_trained`), if its training has these settings."""
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

    With the settings of section `cold`, cold items are those at the end of training, when validation begins. The
    bonuses of a final fit are of its own vectors. How much of the shares validation allows, it takes from the run that
    chose, since it has no validation clicks.

    Raises:
      RunError: as `run_that_chose`.
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
