"""Checks whether a run can continue from another one, and starts it from that run's weights."""

from __future__ import annotations

import logging

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import Config, with_settings
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.models.contract import Recommender
from m3csr_tf.models.matching import rows_before
from m3csr_tf.models.registry import model_class
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import run_files, runs

logger = logging.getLogger(__name__)


def check_warm_start(config: Config) -> None:
    """Refuses a warm start that is impossible; writes nothing.

    Raises:
      RunError: the run that `training.warm_start` names is missing or unfinished, or its model has other settings.
    """
    folder = config.warm_start_folder
    if folder is None:
        return
    if not (folder / run_files.CONFIG_FILE).exists():
        raise RunError(
            f"training.warm_start={folder.name}: there is no run in {folder}; name a finished run of run.folder"
        )
    try:
        before, _, _ = runs.read_finished(folder)
    except (InputError, RunError) as error:
        raise RunError(f"training.warm_start={folder.name}: {error}") from None
    if before.model.kind != config.model.kind:
        raise RunError(
            f"training.warm_start={folder.name}: that run's model is of model.kind={before.model.kind}, this one of "
            f"{config.model.kind}; name a run of the same kind, or train without warm start"
        )
    free = model_class(config.model).initial_settings
    alike = with_settings(config, {f"model.{name}": getattr(before.model, name) for name in sorted(free)})
    found = run_files.differences(before, alike, "model")
    if found:
        raise RunError(
            f"training.warm_start={folder.name}: that run's model has other settings ({'; '.join(found)}); "
            "pass the same, or train without warm start"
        )


def warm_start(model: Recommender, data: TrainingData, prepared: Prepared, config: Config) -> dict[str, int]:
    """Puts the weights of the run that `training.warm_start` names into a new model (`Recommender.continue_from`).

    Args:
      model: a model of `registry.build_model`, whose weights are replaced.
      data, prepared, config: those of the new run, whose prepared data has the transformations of the old run.

    Returns:
      "val" and "test" -> the number of held-back clicks that the old run was trained on, where there are any.

    Raises:
      RunError: for the same reasons as in `check_warm_start`, or the run's weights are missing or broken, or the run
        has been prepared anew since.
    """
    check_warm_start(config)
    folder = config.warm_start_folder
    assert folder is not None
    before = runs.load_trained(folder)
    origin = prepared.manifest.get("warm_start") or {}
    if origin.get("prepared") != run_files.data_digest(before.prepared):
        raise RunError(
            f"{prepared.folder}: was not prepared to start from {folder.name} as it is now; run pipelines/prepare.py"
        )
    known = _known_clicks(before.prepared, prepared)
    model.continue_from(before, data, prepared)
    return known


def _known_clicks(before: Prepared, prepared: Prepared) -> dict[str, int]:
    """Counts, and says, by how many clicks validation and test judge the run that the weights were trained on."""
    found = {}
    for split, called in ((columns.VAL, "validation"), (columns.TEST, "test")):
        held = prepared.split(split)
        users = rows_before(prepared.users, before.users)[held[columns.USER_ROW]]
        items = rows_before(prepared.items, before.items)[held[columns.ITEM_ROW]]
        pairs = users * np.int64(len(before.items)) + items
        known = 0
        for block in before.blocks(columns.TRAIN, [columns.USER_ROW, columns.ITEM_ROW]):
            rows = block[columns.USER_ROW].to_numpy(), block[columns.ITEM_ROW].to_numpy()
            known += int(np.isin(pairs, rows[0] * np.int64(len(before.items)) + rows[1]).sum())
        if known:
            found[split] = known
            logger.warning(
                "%d of %d %s clicks are training clicks of the run that this one starts from, so its %s says too much; "
                "split.kind=time keeps nights apart, and so does starting from the run that chose, not from its final "
                "fit",
                known,
                len(held),
                called,
                called,
            )
    return found
