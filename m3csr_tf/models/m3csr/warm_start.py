"""Going on from a finished run: its weights for what it knew, and rows of its own space for what has come since.

Users and items are matched by their ids, never by their rows, which every catalogue numbers anew.
"""

from __future__ import annotations

import logging

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import Config, with_settings
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.graph.factors import affinity_factors
from m3csr_tf.graph.item_graph import Affinities
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW, IdTable
from m3csr_tf.models.m3csr.model import M3CSR
from m3csr_tf.training import runs
from m3csr_tf.training.training_data import TrainingData

logger = logging.getLogger(__name__)

_OF_FRESH_RUNS = ("id_start", "content_start", "attention_start")
"""Settings of the model that say where weights start, and nothing to a run that starts from another one."""

_RIDGE = 1e-3
"""Of the map from factors to rows, in mean variances of the factors."""


def check_warm_start(config: Config) -> None:
    """Refuses a warm start that cannot be; writes nothing.

    Raises:
      RunError: the run that `training.warm_start` names is missing or unfinished, or its model has other settings.
    """
    folder = config.warm_start_folder
    if folder is None:
        return
    if not (folder / runs.CONFIG_FILE).exists():
        raise RunError(
            f"training.warm_start={folder.name}: there is no run in {folder}; name a finished run of run.folder"
        )
    try:
        before, _, _ = runs.read_finished(folder)
    except (InputError, RunError) as error:
        raise RunError(f"training.warm_start={folder.name}: {error}") from None
    alike = with_settings(config, {f"model.{name}": getattr(before.m3csr, name) for name in _OF_FRESH_RUNS})
    found = runs.differences(before, alike, "model")
    if found:
        raise RunError(
            f"training.warm_start={folder.name}: that run's model has other settings ({'; '.join(found)}); "
            "pass the same, or train without warm start"
        )


def warm_start(model: M3CSR, data: TrainingData, prepared: Prepared, config: Config) -> None:
    """Puts the released weights of the run that `training.warm_start` names into a new model.

    - Rows of users and items that the run knew are copied, found by id; those of others are dropped.
    - A new user starts as the run saw unknown users. So does an item that no training click places.
    - Items that it did not know, or could not place for want of a training click, start where their clicks put them in
      the run's own space (`new_item_rows`); of a log with shards, the clicks of the users in `data.clicks`.
    - All other weights are copied: attention, maps and clusters of content, intensities, gate, popularity bias, whose
      number for new items every validation sets anew.

    Args:
      model: of `runs.build_model`; its weights are replaced.
      data, prepared, config: of the new run, whose prepared data has the transformations of the old one.

    Raises:
      RunError: as `check_warm_start`, or the run's weights are missing or broken, or it has been prepared anew since.
    """
    check_warm_start(config)
    folder = config.warm_start_folder
    assert folder is not None
    before = runs.load_trained(folder)
    origin = prepared.manifest.get("warm_start") or {}
    if origin.get("prepared") != runs.data_digest(before.prepared):
        raise RunError(
            f"{prepared.folder}: was not prepared to start from {folder.name} as it is now; run pipelines/prepare.py"
        )
    _warn_of_known_clicks(before.prepared, prepared)
    tables = {
        model.encoder.id_embedding.ref(): _item_rows(before, data, prepared, config),
        model.user_tower.user_embedding.ref(): _user_rows(before, prepared, config),
    }
    for variable, old in zip(model.trainable_variables, before.model.trainable_variables, strict=True):
        variable.assign(tables.get(variable.ref(), old))


def new_item_rows(rows: np.ndarray, placed: np.ndarray, factors: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Where items that a trained model does not know belong among those that it does.

    Singular vectors of tonight's clicks place new and known items alike, but in a space of their own: of another
    night's they are a rotation, and training has moved the rows since. So the linear map from factors to rows is fitted
    by least squares on the items that have both, and applied to the others.

    Args:
      rows: id rows float32 [items, d] of a trained model; those of unplaced items do not matter.
      placed: bool [items], the items that the model knows.
      factors: float32 [items, d], where a fresh run would start the ids (`graph.factors`).
      clicked: bool [items], the items that have factors.

    Returns:
      float32 [items, d]: mapped factors of clicked items that are not placed, `rows` for the others.
    """
    both = placed & clicked
    gram = factors[both].T @ factors[both].astype(np.float64)
    gram += max(_RIDGE * np.trace(gram) / len(gram), 1e-12) * np.eye(len(gram))
    mapped = factors @ np.linalg.solve(gram, factors[both].T @ rows[both].astype(np.float64))
    return np.where((clicked & ~placed)[:, np.newaxis], mapped, rows).astype(np.float32)


def _item_rows(before: runs.TrainedRun, data: TrainingData, prepared: Prepared, config: Config) -> np.ndarray:
    if config.m3csr.item_hash_rows is not None:
        return before.model.encoder.id_embedding.numpy()  # An id hashes to the same row every night.
    read = before.model.encoder.id_rows.numpy()[_rows_of(prepared.items, before.prepared.items)]
    rows = before.model.encoder.id_embedding.numpy()[read]
    clicked = np.bincount(data.clicks.indices, minlength=len(prepared.items)) > 0
    if not (clicked & (read == UNKNOWN_ROW)).any():
        return rows
    affinities = data.affinities or Affinities.of(data.clicks, prepared.content, config.affinities)
    factors = affinity_factors(affinities, data.clicks, config.m3csr.id_width, config.run.seed).items
    return new_item_rows(rows, read >= FIRST_ROW, factors, clicked)


def _warn_of_known_clicks(before: Prepared, prepared: Prepared) -> None:
    """Says so if validation would judge the run by clicks that the weights were trained on."""
    judged = prepared.split(columns.VAL)
    users = _rows_of(prepared.users, before.users)[judged[columns.USER_ROW]]
    items = _rows_of(prepared.items, before.items)[judged[columns.ITEM_ROW]]
    pairs = users * np.int64(len(before.items)) + items
    known = 0
    for block in before.blocks(columns.TRAIN, [columns.USER_ROW, columns.ITEM_ROW]):
        trained = block[columns.USER_ROW].to_numpy() * np.int64(len(before.items)) + block[columns.ITEM_ROW].to_numpy()
        known += int(np.isin(pairs, trained).sum())
    if known:
        logger.warning(
            "%d of %d validation clicks are training clicks of the run that this one starts from, so its validation "
            "says too much; split.kind=time keeps nights apart",
            known,
            len(judged),
        )


def _user_rows(before: runs.TrainedRun, prepared: Prepared, config: Config) -> np.ndarray:
    if config.m3csr.user_hash_rows is not None:
        return before.model.user_tower.user_embedding.numpy()
    return before.model.user_tower.user_embedding.numpy()[_rows_of(prepared.users, before.prepared.users)]


def _rows_of(table: IdTable, before: IdTable) -> np.ndarray:
    """The old row of each new row, int32 [rows]: the reserved rows stay, an id that was not known has UNKNOWN_ROW."""
    return np.concatenate([np.arange(FIRST_ROW, dtype=np.int32), before.rows(table.strings)])
