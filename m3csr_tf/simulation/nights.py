"""The nightly job: the log and the catalogue as tables, then a training and a release of them."""

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
    """Clicks as a training reads them.

    Args:
      population: who and what USER and ITEM mean.
      logs: what a log calls the users, object [users], and its clicks, USER, ITEM and TIME.

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
    """Writes a training's input, layout "table" (docs/data.md), unless it is there already.

    Args:
      folder: where; it appears whole or not at all.
      log: as `training_log`.
      population: the videos.
      available: bool [items], the videos of the catalogue.
      views: their view counts, int64 [items].
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
    """The settings of a night's training and release: the system's own, on the tables of `write_tables`."""
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
    """Where an arm's rounds and nights lie."""
    return plan.folder / "arms" / system


def tables_folder(plan: Plan, system: str, night: int) -> Path:
    """Where the input of a night's training lies."""
    return arm_folder(plan, system) / LOGS / f"night_{night:03d}"


def done_file(plan: Plan, system: str, night: int) -> Path:
    """Says that a night is done, and which version it has published."""
    return arm_folder(plan, system) / "nights" / _DONE.format(night)


def read_done(path: Path) -> int:
    """The version that a finished night has published."""
    return int(json.loads(path.read_text(encoding="utf-8"))["version"])
