"""The nightly job: writes the log and the catalogue as tables, from which a run is trained and released."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import Config, with_settings
from m3csr_tf.data.readers.log_layout import CATALOGUE
from m3csr_tf.data.readers.table import INTERACTIONS
from m3csr_tf.simulation.plan import Plan, run_name
from m3csr_tf.simulation.population import ITEM, TIME, USER, Population

LOGS = "logs"
_DONE = "night_{:03d}.json"


def training_log(population: Population, logs: Sequence[tuple[np.ndarray, pd.DataFrame]]) -> pd.DataFrame:
    """Returns clicks as training reads them.

    Args:
      population: maps the positions in USER and ITEM to ids.
      logs: for each log, the ids of the users in it, object [users], and its clicks, with USER, ITEM and TIME.

    Returns:
      user_id, item_id (str) and timestamp (int64), in the order of time, then of ids.
    """
    frames = [
        pd.DataFrame(
            {
                columns.USER_ID: ids[clicks[USER]],
                columns.ITEM_ID: population.item_ids[clicks[ITEM]],
                columns.TIMESTAMP: clicks[TIME].to_numpy(np.int64),
            }
        )
        for ids, clicks in logs
    ]
    order = [columns.TIMESTAMP, columns.USER_ID, columns.ITEM_ID]
    return pd.concat(frames, ignore_index=True).sort_values(order, ignore_index=True)


def write_tables(
    folder: Path, log: pd.DataFrame, population: Population, available: np.ndarray, views: np.ndarray
) -> None:
    """Writes the input of a training in the layout "table" (docs/data.md), unless it exists.

    Args:
      folder: the folder, which is written under a temporary name and renamed.
      log: the clicks, see `training_log`.
      population: the people and the videos.
      available: bool [items], the videos of the catalogue.
      views: view counts of the videos, int64 [items].
    """
    if folder.exists():
        return
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    items = np.flatnonzero(available)
    log.to_parquet(temporary / f"{INTERACTIONS}.parquet", index=False)
    catalogue = pd.DataFrame(
        {
            columns.ITEM_ID: population.item_ids[items],
            columns.VIEW_COUNT: views[items],
            columns.PUBLISH_TIME: population.published[items],
        }
    )
    catalogue.to_parquet(temporary / f"{CATALOGUE}.parquet", index=False)
    for name, vectors in population.content.items():
        np.save(temporary / f"{name}.npy", vectors[items], allow_pickle=False)
    temporary.rename(folder)


def night_config(plan: Plan, system: str, night: int) -> Config:
    """Returns the settings of a night's training and release: those of the system, on the tables of `write_tables`."""
    settings: dict[str, Any] = {
        "data.format": "table",
        "data.path": str(tables_folder(plan, system, night)),
        "data.modalities": {name: f"{name}.npy" for name in plan.world.modalities},
        "run.name": run_name(system, night),
        "run.folder": str(plan.folder / "runs"),
        "run.release_folder": str(plan.folder / "saved_models"),
        "run.release_name": system,
    }
    if plan.systems[system].warm_start and night:
        settings["training.warm_start"] = run_name(system, night - 1)
    return with_settings(plan.configs[system], settings)


def arm_folder(plan: Plan, system: str) -> Path:
    """Returns the folder of an arm's rounds and nights."""
    return plan.folder / "arms" / system


def tables_folder(plan: Plan, system: str, night: int) -> Path:
    """Returns the folder of the input of a night's training."""
    return arm_folder(plan, system) / LOGS / f"night_{night:03d}"


def done_file(plan: Plan, system: str, night: int) -> Path:
    """Returns the file whose existence says that a night is done; it names the version that the night has published."""
    return arm_folder(plan, system) / "nights" / _DONE.format(night)


def read_done(path: Path) -> int:
    """Returns the version that a finished night has published."""
    return int(json.loads(path.read_text(encoding="utf-8"))["version"])
