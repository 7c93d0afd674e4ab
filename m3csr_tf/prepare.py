"""Raw input to one prepared folder: read, check, split, fit scaling, clusters and bins, write beside, rename.

A run that goes on from another one (`training.warm_start`), or takes its centres alone (`clusters.frozen_from`), takes
that one's scaling, cluster centres and edges of the popularity bins instead of fitting its own: weights that were
trained on them, and whoever counts by cluster id, find them unchanged from day to day.
"""

from __future__ import annotations

import logging
import platform
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from m3csr_tf import __version__, columns
from m3csr_tf.config import PREPARE_SECTIONS, Config
from m3csr_tf.data import formats, splits
from m3csr_tf.data.content_files import ITEMS_AT_ONCE
from m3csr_tf.data.frozen_transforms import check_widths, fitted_before
from m3csr_tf.data.logs import SPLIT_STEPS, SplitLog, split_in_memory
from m3csr_tf.data.partition import partition
from m3csr_tf.data.prepared import FORMAT, Prepared, read_users
from m3csr_tf.data.prepared_folder import put_in_place, refuse_foreign
from m3csr_tf.data.readers.log import LEFT_OUT, WITHOUT_ITEMS, TableLog
from m3csr_tf.data.streamed import split_partition
from m3csr_tf.errors import ConfigError
from m3csr_tf.features.assignment import assign_clusters
from m3csr_tf.features.blocks import blocks, give_back
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler, ScaledContent
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW, IdTable
from m3csr_tf.util.digests import Digests
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, sha256, write_json
from m3csr_tf.util.progress import progress, say

logger = logging.getLogger(__name__)

_MERGED = {
    None: "latest time, sum of weights",
    "sum": "latest time, sum of weights",
    "max": "latest time, largest weight",
    "last": "latest time, its weight",
}
"""What becomes of repeated interactions, by `data.events.repeated`."""


def prepare(config: Config, folder: Path | None = None) -> Prepared:
    """Opens the prepared folder of `config`, building it first unless it is there already.

    A folder is taken as it is when it came from the same settings (the sections PREPARE_SECTIONS), the same versions
    and the same input files, and its own files are intact (digests.py says how that is known). Otherwise a new one is
    built beside it and takes its place once it is complete; if the input is at fault, nothing is left.

    With `training.warm_start`, what is fitted is that run's, and the folder depends on that run's prepared data too;
    with `clusters.frozen_from` it is as well, and the folder depends on what was fitted.

    Args:
      config: the run's configuration; `run.seed` does not matter here, the world and the split have seeds of their own.
      folder: where; `<run folder>/prepared` by default.

    Raises:
      InputError, ConfigError: the input or a setting is at fault; nothing is left behind.
      RunError: the folder holds something else; or the run to start from is missing, or its modalities, widths or
        fitted settings are others.
      ResourceError: the folder cannot be written.
    """
    folder = config.run_folder / "prepared" if folder is None else Path(folder)
    refuse_foreign(folder)
    digests = Digests(folder / columns.DIGESTS)
    origin = _origin(config, digests)
    if _matches(folder, origin, digests):
        logger.info("%s is up to date", folder)
        return Prepared.open(folder)
    before = fitted_before(config)
    with put_in_place(folder) as temporary:
        facts = _build(config, before, temporary)
        files = sorted(path.name for path in temporary.iterdir())
        with progress("checksums of the prepared data, bytes") as stage:
            digests_of = digests.of_all([temporary / name for name in files], stage)
        checksums = {path.name: digest for path, digest in digests_of.items()}
        write_json(temporary / columns.MANIFEST, {"format": FORMAT, **origin, **facts, "files": checksums})
        digests.save(temporary / columns.DIGESTS)
    return Prepared.open(folder)


def summary(prepared: Prepared) -> Table:
    """What the folder holds."""
    counts = prepared.manifest["counts"]
    table = Table("prepared data", "count")
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    for name in prepared.modalities:
        table.add_row(f"{name} width", f"{prepared.content[name].shape[1]:,}")
    table.add_row("popularity bins", str(prepared.popularity.count))
    table.add_row("split by", prepared.manifest["split"])
    return table


def _origin(config: Config, digests: Digests) -> dict[str, Any]:
    """All that the folder's contents depend on."""
    inputs = formats.input_files(config.data)
    if config.split.cold_file is not None and config.split.cold_file.is_file():
        inputs.append(config.split.cold_file)
    packages = ("numpy", "pandas", "scikit-learn")
    before = fitted_before(config)
    return {
        "fingerprint": config.fingerprint(*PREPARE_SECTIONS),
        "inputs": _checksums(inputs, digests),
        "versions": {"m3csr_tf": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "seed": config.split.seed,
        "warm_start": None
        if before is None or config.training.warm_start is None
        else {
            "run": config.training.warm_start,
            "prepared": sha256(before.folder / columns.MANIFEST),
        },
        "frozen": None
        if before is None or config.clusters.frozen_from is None
        else {
            "run": config.clusters.frozen_from,
            "centres": before.clusters.digest,
            "files": {name: sha256(before.folder / name) for name in ("scaling.npz", "popularity.json")},
        },
    }


def _checksums(paths: list[Path], digests: Digests) -> dict[str, str]:
    with progress("checksums of the input, bytes") as stage:
        return {str(path): digest for path, digest in digests.of_all(paths, stage).items()}


def is_current(config: Config, folder: Path) -> bool:
    """Whether `prepare` would take a folder as it is; input files that cannot be read raise, as there."""
    digests = Digests(folder / columns.DIGESTS)
    return _matches(folder, _origin(config, digests), digests)


def _matches(folder: Path, origin: dict[str, Any], digests: Digests) -> bool:
    try:
        manifest = parse_json(regular(folder / columns.MANIFEST).read_bytes())
        matches = (
            manifest["format"] == FORMAT
            and all(manifest.get(key) == value for key, value in origin.items())
            and all(digests.matches(folder / name, digest) for name, digest in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if matches:
        with suppress(OSError):  # A folder that cannot be written can be used all the same.
            digests.save(folder / columns.DIGESTS)
    return matches


def _build(config: Config, before: Prepared | None, folder: Path) -> dict[str, Any]:
    """Writes all files of the folder but the manifest; returns the manifest's facts about them.

    Args:
      config: the run's settings.
      before: what to take scaling, centres and edges from; they are fitted when None.
      folder: to write into.
    """
    logger.info("reading %s data", config.data.format)
    larger = formats.larger_than_memory(config.data)
    if larger is not None:
        raw, catalogue = None, formats.catalogue_of(config.data, folder)
        items = IdTable(catalogue.frame[columns.ITEM_ID].to_numpy())
        log = _split_streamed(larger, config, items, folder)
    else:
        raw = formats.read(config.data, folder, splits.takes_given(config.split))
        catalogue = raw.catalogue
        items = IdTable(catalogue.frame[columns.ITEM_ID].to_numpy())
        with progress("splitting the log, steps", SPLIT_STEPS) as stage:
            log = split_in_memory(raw, items, config, folder, stage)
    _say_what_became_of(log, config)
    if before is not None:
        check_widths(config, catalogue.content, before)
    table = catalogue.frame.copy()
    table[columns.TRAIN_CLICKS] = log.train_clicks[FIRST_ROW:]
    table[columns.IS_COLD] = table[columns.TRAIN_CLICKS] == 0
    table[columns.IS_STRICTLY_COLD] = table[columns.ITEM_ID].isin(log.strictly_cold)
    table[columns.IS_PSEUDO_COLD] = table[columns.ITEM_ID].isin(log.pseudo_cold)
    if log.train_weights is not None:
        table[columns.TRAIN_WEIGHT] = log.train_weights[FIRST_ROW:]
    popularity = _popularity(config, table)
    if before is None:
        bins = PopularityBins.fit(config.popularity.source, popularity, config.popularity.bins)
    else:
        bins = before.popularity
    table[columns.POPULARITY_BIN] = bins.bin(popularity)

    logger.info("scaling and clustering the content of %d items", len(table))
    content = catalogue.content
    present = {name: _present(vectors) for name, vectors in content.items()}
    if before is None:
        clicked = ~table[columns.IS_COLD].to_numpy()
        with progress("scaling content, modalities", len(content)) as stage:
            scaler = ContentScaler.fit(
                config.content.scaling,
                content,
                clicked,
                config.content.components,
                on_progress=stage,
                shrinkage=config.content.shrinkage,
            )
    else:
        scaler = before.scaler
    scaled = {name: ScaledContent(scaler, name, vectors) for name, vectors in content.items()}
    clusters = _fit_clusters(config, table, scaled, present) if before is None else before.clusters
    with progress("assigning clusters, items", len(table)) as stage:
        assigned = assign_clusters(scaler, clusters, content, stage)
    cluster_ids = np.concatenate([np.zeros((FIRST_ROW, assigned.shape[1]), assigned.dtype), assigned])

    table.to_parquet(folder / "items.parquet", index=False)
    scaler.save(folder / "scaling.npz")
    clusters.save(folder / "centres.npz")
    np.save(folder / "clusters.npy", cluster_ids, allow_pickle=False)
    bins.save(folder / "popularity.json")
    if raw is not None and raw.truth is not None:
        _save_truth(folder / "truth.npz", raw.truth, read_users(folder), items)
    counts = {
        "users": log.users,
        "items": len(items) - FIRST_ROW,
        **{f"{name}_interactions": size for name, size in log.sizes.items()},
        "cold_items": int(table[columns.IS_COLD].sum()),
        "strictly_cold_items": len(log.strictly_cold),
        "pseudo_cold_items": len(log.pseudo_cold),
        "users_without_training_click": log.users - log.users_with_clicks,
        **log.counts,
        **{f"items_without_{name}": int((~there).sum()) for name, there in present.items()},
    }
    settings = config.model_dump(mode="json", include=set(PREPARE_SECTIONS))
    return {
        "modalities": list(content),
        "split": log.kind,
        "counts": counts,
        "weighted": log.weighted,
        "kinds": list(config.data.events.kinds),
        "centres": clusters.digest,
        "config": settings,
    }


def _say_what_became_of(log: SplitLog, config: Config) -> None:
    """Says what nobody asked for by name: the kind of split and why, and rows that are not there any more."""
    repeated = config.data.events.repeated
    say(f"split by: {log.kind} ({splits.why(log.kind, config.split)})")
    if config.split.train_on != "train":
        held = ", ".join(f"{log.sizes[name]:,} of {name}" for name in columns.SPLITS[1:])
        say(
            f"split.train_on={config.split.train_on}: {log.sizes[columns.TRAIN]:,} clicks to train on; "
            f"held back: {held}"
        )
    for name, what in (
        (LEFT_OUT, "rows left out by data.where"),
        (WITHOUT_ITEMS, "rows whose list of items is empty"),
        ("merged_duplicates", f"rows merged with another of the same user and item ({_MERGED[repeated]})"),
        ("repeated_in_later_split", "rows dropped: an earlier split has the same user and item"),
    ):
        if log.counts.get(name):
            say(f"{log.counts[name]:,} {what}")


def _split_streamed(interactions: TableLog, config: Config, items: IdTable, folder: Path) -> SplitLog:
    """The tables of a log that is larger than memory, by way of buckets on the disk beside them."""
    buckets = folder / "buckets"
    buckets.mkdir()
    with progress(f"reading and partitioning the log, {interactions.unit}") as stage:
        parts = partition(interactions, items, buckets, interactions.count(), config.data.shard_clicks, stage)
    with progress("splitting it, buckets") as stage:
        log = split_partition(parts, items, config, folder, stage)
    shutil.rmtree(buckets)
    return log


def _popularity(config: Config, catalogue: pd.DataFrame) -> np.ndarray:
    """Returns the counts that popularity bins bin, int64 [items].

    A weighted count is the sum of the weights of an item's training clicks, of which the mean weight counts as 1,
    rounded, and at least 1 where there is a click.
    """
    source = config.popularity.source
    if source == columns.TRAIN_WEIGHT:
        if source not in catalogue:
            raise ConfigError(
                f"popularity.source={source}, but the interactions have no weights; give them a column weight, set "
                "data.events, or use train_clicks"
            )
        sums, clicks = catalogue[source].to_numpy(), catalogue[columns.TRAIN_CLICKS].to_numpy()
        counted = np.rint(sums * (clicks.sum() / sums.sum())).astype(np.int64)
        return np.where(clicks > 0, np.maximum(counted, 1), 0)
    if (catalogue[source] < 0).all():
        raise ConfigError(f"popularity.source={source}, but no item of the catalogue has one; use train_clicks")
    return catalogue[source].to_numpy()


def _fit_clusters(
    config: Config, catalogue: pd.DataFrame, scaled: dict[str, ScaledContent], present: dict[str, np.ndarray]
) -> Clusters:
    what = ", modalities" if config.clusters.kind == "per_modality" else ""
    with progress(f"k-means of {config.clusters.count:,} clusters{what}") as stage:
        return Clusters.fit(
            config.clusters.kind,
            config.clusters.count,
            scaled,
            present,
            item_rows=~(catalogue[columns.IS_STRICTLY_COLD] | catalogue[columns.IS_PSEUDO_COLD]).to_numpy(),
            max_iterations=config.clusters.max_iterations,
            seed=config.split.seed,
            on_progress=stage,
        )


def _present(vectors: np.ndarray) -> np.ndarray:
    """Which items have a modality, bool [items], of its vectors, which may be more than fit in memory."""
    present = np.empty(len(vectors), bool)
    for block in blocks(len(vectors), ITEMS_AT_ONCE):
        present[block] = ~np.isnan(vectors[block, 0])
        give_back(vectors[block])
    return present


def _save_truth(path: Path, truth: dict[str, np.ndarray], users: IdTable, items: IdTable) -> None:
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
    np.savez(path, allow_pickle=False, **arrays)
