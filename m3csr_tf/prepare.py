"""Raw input to one prepared folder: read, check, split, fit scaling, clusters and bins, write beside, rename.

A run that goes on from another one (`training.warm_start`) takes that one's scaling, cluster centres and edges of the
popularity bins instead of fitting its own, since the weights that it starts from were trained on them.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from m3csr_tf import __version__, columns
from m3csr_tf.config import PREPARE_SECTIONS, Config
from m3csr_tf.data import formats
from m3csr_tf.data.earlier import check_widths, fitted_before
from m3csr_tf.data.prepared import FORMAT, Prepared
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.shards import ShardWriter
from m3csr_tf.data.splits import play_cold, split
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.files import sha256, write_json
from m3csr_tf.ids import FIRST_ROW, IdTable

logger = logging.getLogger(__name__)

Writers = dict[str, Callable[[Path], None]]
"""File name -> what writes it."""


def prepare(config: Config, folder: Path | None = None) -> Prepared:
    """Opens the prepared folder of `config`, building it first unless it is there already.

    A folder is taken as it is when it came from the same settings (the sections PREPARE_SECTIONS), the same versions
    and the same input files, and its own files are intact. Otherwise a new one is built beside it and takes its place
    once it is complete. Nothing is written before the whole input has been read and checked.

    With `training.warm_start`, what is fitted is that run's, and the folder depends on that run's prepared data too.

    Args:
      config: the run's configuration; `run.seed` does not matter here, the world and the split have seeds of their own.
      folder: where; `<run folder>/prepared` by default.

    Raises:
      InputError, ConfigError: the input or a setting is at fault; nothing is left behind.
      RunError: the folder holds something else, or cannot be written; or the run to start from is missing, or its
        modalities, widths or fitted settings are others.
    """
    folder = config.run_folder / "prepared" if folder is None else Path(folder)
    _refuse_foreign(folder)
    origin = _origin(config)
    if _matches(folder, origin):
        logger.info("%s is up to date", folder)
        return Prepared.open(folder)
    before = fitted_before(config)
    logger.info("reading %s data", config.data.format)
    writers, facts = _build(config, formats.read(config.data), before)
    _write(folder, writers, {"format": FORMAT, **origin, **facts})
    return Prepared.open(folder)


def summary(prepared: Prepared) -> str:
    """A table of what the folder holds, for the console."""
    counts = prepared.manifest["counts"]
    table = Table("prepared data", "count", title=str(prepared.folder), title_justify="left")
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    for name in prepared.modalities:
        table.add_row(f"{name} width", f"{prepared.content[name].shape[1]:,}")
    table.add_row("popularity bins", str(prepared.popularity.count))
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def _origin(config: Config) -> dict[str, Any]:
    """All that the folder's contents depend on."""
    inputs = formats.input_files(config.data)
    if config.split.cold_file is not None and config.split.cold_file.is_file():
        inputs.append(config.split.cold_file)
    packages = ("numpy", "pandas", "scikit-learn")
    before = fitted_before(config)
    return {
        "fingerprint": config.fingerprint(*PREPARE_SECTIONS),
        "inputs": {str(path): sha256(path) for path in inputs},
        "versions": {"m3csr_tf": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "seed": config.split.seed,
        "warm_start": None
        if before is None
        else {
            "run": config.training.warm_start,
            "prepared": sha256(before.folder / columns.MANIFEST),
        },
    }


def is_current(config: Config, folder: Path) -> bool:
    """Whether `prepare` would take a folder as it is; input files that cannot be read raise, as there."""
    return _matches(folder, _origin(config))


def _matches(folder: Path, origin: dict[str, Any]) -> bool:
    try:
        manifest = json.loads((folder / columns.MANIFEST).read_text(encoding="utf-8"))
        return (
            manifest["format"] == FORMAT
            and all(manifest.get(key) == value for key, value in origin.items())
            and all(sha256(folder / name) == digest for name, digest in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(config: Config, raw: RawData, before: Prepared | None) -> tuple[Writers, dict[str, Any]]:
    """All files of the folder but the manifest, and the manifest's facts about them.

    Args:
      config: the run's settings.
      raw: the checked input.
      before: what to take scaling, centres and edges from; they are fitted when None.
    """
    if before is not None:
        check_widths(config, raw.catalogue.content, before)
    ids = raw.catalogue.frame[columns.ITEM_ID].to_numpy()
    labelled, strictly_cold = split(raw.interactions, ids, config.split)
    labelled, pseudo_cold = play_cold(labelled, config.split)
    users, items = IdTable(labelled[columns.USER_ID].unique()), IdTable(ids)
    frames = _row_frames(labelled, users, items)

    catalogue = raw.catalogue.frame.copy()
    train_rows = frames[columns.TRAIN][columns.ITEM_ROW].to_numpy()
    catalogue[columns.TRAIN_CLICKS] = np.bincount(train_rows, minlength=len(items))[FIRST_ROW:]
    catalogue[columns.IS_COLD] = catalogue[columns.TRAIN_CLICKS] == 0
    catalogue[columns.IS_STRICTLY_COLD] = catalogue[columns.ITEM_ID].isin(strictly_cold)
    catalogue[columns.IS_PSEUDO_COLD] = catalogue[columns.ITEM_ID].isin(pseudo_cold)
    bins = _bins(config, catalogue, before)
    catalogue[columns.POPULARITY_BIN] = bins.bin(catalogue[config.popularity.source].to_numpy())

    logger.info("scaling and clustering the content of %d items", len(catalogue))
    content = raw.catalogue.content
    present = {name: ~np.isnan(vectors[:, 0]) for name, vectors in content.items()}
    if before is None:
        scaler = ContentScaler.fit(
            config.content.scaling, content, ~catalogue[columns.IS_COLD].to_numpy(), config.content.components
        )
    else:
        scaler = before.scaler
    scaled = {name: scaler.transform(name, vectors) for name, vectors in content.items()}
    clusters = _fit_clusters(config, catalogue, scaled, present) if before is None else before.clusters
    cluster_ids = _with_reserved_rows(clusters.assign(scaled, present), 0)

    writers: Writers = {
        "users.parquet": _frame_writer(pd.DataFrame({columns.USER_ID: users.known})),
        "items.parquet": _frame_writer(catalogue),
        "train.parquet": _shard_writer(frames[columns.TRAIN], config.data.shard_clicks),
        **{f"{name}.parquet": _frame_writer(frames[name]) for name in (columns.VAL, columns.TEST)},
        **{
            f"content_{name}.npy": _array_writer(_with_reserved_rows(vectors, np.nan))
            for name, vectors in content.items()
        },
        "scaling.npz": scaler.save,
        "centres.npz": clusters.save,
        "clusters.npy": _array_writer(cluster_ids),
        "popularity.json": bins.save,
    }
    if raw.truth is not None:
        writers["truth.npz"] = _truth_writer(raw.truth, users, items)
    counts = {
        "users": len(users.known),
        "items": len(items.known),
        **{f"{name}_interactions": len(frame) for name, frame in frames.items()},
        "cold_items": int(catalogue[columns.IS_COLD].sum()),
        "strictly_cold_items": len(strictly_cold),
        "pseudo_cold_items": len(pseudo_cold),
        "users_without_training_click": len(users.known) - frames[columns.TRAIN][columns.USER_ROW].nunique(),
        **raw.counts,
        **{f"items_without_{name}": int((~there).sum()) for name, there in present.items()},
    }
    settings = config.model_dump(mode="json", include=set(PREPARE_SECTIONS))
    return writers, {"modalities": list(content), "counts": counts, "config": settings}


def _row_frames(labelled: pd.DataFrame, users: IdTable, items: IdTable) -> dict[str, pd.DataFrame]:
    rows = pd.DataFrame(
        {
            columns.USER_ROW: users.rows(labelled[columns.USER_ID].to_numpy()),
            columns.ITEM_ROW: items.rows(labelled[columns.ITEM_ID].to_numpy()),
        }
    )
    for name in (columns.TIMESTAMP, columns.WEIGHT):
        if name in labelled:
            rows[name] = labelled[name].to_numpy()
    order = [columns.USER_ROW, columns.ITEM_ROW]
    labels = labelled[columns.SPLIT].to_numpy()
    return {name: rows[labels == name].sort_values(order, ignore_index=True) for name in columns.SPLITS}


def _bins(config: Config, catalogue: pd.DataFrame, before: Prepared | None) -> PopularityBins:
    source = config.popularity.source
    if (catalogue[source] < 0).all():
        raise ConfigError(f"popularity.source={source}, but no item of the catalogue has one; use train_clicks")
    if before is not None:
        return before.popularity
    return PopularityBins.fit(source, catalogue[source].to_numpy(), config.popularity.bins)


def _fit_clusters(
    config: Config, catalogue: pd.DataFrame, scaled: dict[str, np.ndarray], present: dict[str, np.ndarray]
) -> Clusters:
    return Clusters.fit(
        config.clusters.kind,
        config.clusters.count,
        scaled,
        present,
        rows=~(catalogue[columns.IS_STRICTLY_COLD] | catalogue[columns.IS_PSEUDO_COLD]).to_numpy(),
        max_iterations=config.clusters.max_iterations,
        seed=config.split.seed,
    )


def _with_reserved_rows(values: np.ndarray, fill: float) -> np.ndarray:
    return np.concatenate([np.full((FIRST_ROW, values.shape[1]), fill, values.dtype), values])


def _frame_writer(frame: pd.DataFrame) -> Callable[[Path], None]:
    return lambda path: frame.to_parquet(path, index=False)


def _shard_writer(frame: pd.DataFrame, clicks: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with ShardWriter(path, clicks) as shards:
            shards.write(frame)

    return write


def _array_writer(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=False)


def _truth_writer(truth: dict[str, np.ndarray], users: IdTable, items: IdTable) -> Callable[[Path], None]:
    """Truth in row order from FIRST_ROW: arrays named user_... or intensities by user, item_... by item."""
    by_id = {
        columns.USER_ID: pd.Index(truth[columns.USER_ID]).get_indexer(users.known),
        columns.ITEM_ID: pd.Index(truth[columns.ITEM_ID]).get_indexer(items.known),
    }
    arrays = {
        name: values[by_id[columns.ITEM_ID if name.startswith("item") else columns.USER_ID]]
        for name, values in truth.items()
        if name not in by_id
    }
    return lambda path: np.savez(path, allow_pickle=False, **arrays)


def _refuse_foreign(folder: Path) -> None:
    """A folder that is replaced must be one of ours."""
    if folder.exists() and not (folder / columns.MANIFEST).exists() and (folder.is_file() or any(folder.iterdir())):
        raise RunError(f"{folder}: holds something other than prepared data; move it away, or choose another folder")


def _write(folder: Path, writers: Writers, manifest: dict[str, Any]) -> None:
    beside, old = (folder.with_name(f".{folder.name}.{state}") for state in ("building", "replaced"))
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, write in writers.items():
            write(beside / name)
        write_json(beside / columns.MANIFEST, {**manifest, "files": {name: sha256(beside / name) for name in writers}})
        _swap(beside, folder, old)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot write the prepared data ({error.strerror}); check the disk and rights"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Puts `new` in the place of `folder`; if that fails, `folder` is as it was."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
