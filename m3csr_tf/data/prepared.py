"""The prepared folder: everything that training, evaluation and release need, as rows and arrays.

`prepare.py` writes it; everybody else opens it through `Prepared.open`. Layout:

| file | holds |
| --- | --- |
| manifest.json | format, settings, input and versions it came from, counts, digests of the centres and of each file |
| users.parquet | user_id, in row order from FIRST_ROW |
| items.parquet | item_id, view_count (-1: unknown), publish_time (if known), and more (see below) |
| train.parquet, val.parquet, test.parquet | user_row, item_row int32, timestamp and weight if known, sorted; the \
row groups of train.parquet are shards (data/shards.py) |
| content_<modality>.npy | raw vectors float32 [rows, width] by item row; NaN: a reserved row, or the item lacks it |
| scaling.npz | the content scaler |
| centres.npz, clusters.npy | k-means centres a modality; cluster ids int32 [rows, modalities] by item row, 0: none |
| popularity.json | source and lower edges of the bins |
| truth.npz | the synthetic world's truth, from FIRST_ROW in row order; only for data.format=world |

items.parquet also holds train_clicks, popularity_bin, is_cold (no training click), is_strictly_cold (the split moved
all its interactions out of training) and is_pseudo_cold (it moved its training interactions to validation).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.content_files import content_file
from m3csr_tf.data.logs import USERS_FILE
from m3csr_tf.data.shards import Shard, shards_of
from m3csr_tf.errors import InputError
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW, IdTable
from m3csr_tf.util.digests import Digests
from m3csr_tf.util.files import regular
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.stored import reading, stored_array, stored_json

FORMAT = 4
"""Version of the layout; a folder of another one is refused."""
AGAIN = "put it back, or run pipelines/prepare.py, with run.overwrite=true where the run has been trained"
_FILES = {"users.parquet", "items.parquet", "train.parquet", "val.parquet", "test.parquet", "popularity.json"} | {
    "scaling.npz",
    "centres.npz",
    "clusters.npy",
}


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened.

    Attributes:
      folder: where it lies.
      manifest: contents of manifest.json.
      users, items: id tables.
      catalogue: items.parquet but the ids as a frame, one line an item, in row order from FIRST_ROW.
      content: modality -> raw vectors float32 [len(items), width], memory-mapped and read-only; the padding and
        unknown rows are NaN, like the row of an item that lacks the modality.
      scaler, clusters, popularity: the fitted transformations, which the item tower repeats inside its graph.
      cluster_ids: int32 [len(items), modalities], 0 for padding, unknown and absent.
      bins: int32 [len(items)], popularity bins; 0 for padding and unknown.
    """

    folder: Path
    manifest: dict[str, Any]
    users: IdTable
    items: IdTable
    catalogue: pd.DataFrame
    content: dict[str, np.ndarray]
    scaler: ContentScaler
    clusters: Clusters
    popularity: PopularityBins
    cluster_ids: np.ndarray
    bins: np.ndarray

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, in the order in which vectors are laid out."""
        return list(self.content)

    def split(self, name: str, users: np.ndarray | None = None) -> pd.DataFrame:
        """Interactions of "train", "val" or "test": user_row, item_row int32, sorted by both.

        Args:
          name: of the split.
          users: rows int32 [n]; only their interactions, read a row group at a time. All users' when None.
        """
        path = self.folder / f"{name}.parquet"
        if users is None:
            return pd.read_parquet(path)
        wanted = np.zeros(len(self.users), bool)
        wanted[users] = True
        parts = [part[wanted[part[columns.USER_ROW]]] for part in self.blocks(name, users=users)]
        return pd.concat(parts, ignore_index=True) if parts else pq.read_schema(path).empty_table().to_pandas()

    def blocks(
        self, name: str, wanted: list[str] | None = None, users: np.ndarray | None = None
    ) -> Iterator[pd.DataFrame]:
        """The interactions of a split a row group at a time, in order of their users' rows; of "train", whole users.

        Args:
          name: of the split.
          wanted: columns; all when None.
          users: rows; groups that have none of them are left out.
        """
        with pq.ParquetFile(self.folder / f"{name}.parquet") as file:
            position = file.schema_arrow.get_field_index(columns.USER_ROW)
            for group in range(file.num_row_groups):
                known = file.metadata.row_group(group).column(position).statistics
                if users is not None and known is not None and known.has_min_max:
                    if not ((users >= known.min) & (users <= known.max)).any():
                        continue
                yield file.read_row_group(group, columns=wanted).to_pandas()

    def clicks(self, name: str) -> int:
        """How many interactions a split has."""
        return int(pq.read_metadata(self.folder / f"{name}.parquet").num_rows)

    @cached_property
    def train_shards(self) -> list[Shard]:
        """The shards of the training clicks, in order of their users' rows."""
        return shards_of(self.folder / "train.parquet")

    def read_shard(self, number: int) -> pd.DataFrame:
        """A shard's clicks, as `split` gives them."""
        with pq.ParquetFile(self.folder / "train.parquet") as file:
            return file.read_row_group(number).to_pandas()

    @cached_property
    def train_clicks(self) -> np.ndarray:
        """Training clicks of each item row, int64 [len(items)]; 0 for padding and unknown."""
        return np.concatenate([np.zeros(FIRST_ROW, np.int64), self.catalogue[columns.TRAIN_CLICKS].to_numpy(np.int64)])

    def truth(self) -> dict[str, np.ndarray] | None:
        """The synthetic world's truth, or None for real data."""
        path = self.folder / "truth.npz"
        if path.name not in self.manifest["files"]:
            return None
        with reading(path, AGAIN, InputError), np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Opens a prepared folder, after checking every file of it against the manifest.

        A file that looks as it did when it was last read is not read again (digests.py), so that tens of gigabytes take
        no time; the first opening after a copy reads them all.

        Raises:
          InputError: the folder is missing, unfinished, or of another format, or one of its files is missing, broken,
            or was changed.
        """
        folder = Path(folder)
        manifest = _checked_manifest(folder)
        with reading(folder, AGAIN, InputError):
            items = pq.read_table(regular(folder / "items.parquet"))
            catalogue = items.drop_columns(columns.ITEM_ID).to_pandas()
            rows = len(items) + FIRST_ROW
            return cls(
                folder=folder,
                manifest=manifest,
                users=read_users(folder),
                items=IdTable(items[columns.ITEM_ID]),
                catalogue=catalogue,
                content={
                    name: stored_array(folder / content_file(name), (rows, None), "f", mapped=True)
                    for name in manifest["modalities"]
                },
                scaler=ContentScaler.load(folder / "scaling.npz"),
                clusters=Clusters.load(folder / "centres.npz"),
                popularity=PopularityBins.load(folder / "popularity.json"),
                cluster_ids=stored_array(folder / "clusters.npy", (rows, len(manifest["modalities"])), "i"),
                bins=np.concatenate(
                    [np.zeros(FIRST_ROW, np.int32), catalogue[columns.POPULARITY_BIN].to_numpy(np.int32)]
                ),
            )


def read_users(folder: Path) -> IdTable:
    """The id table of users."""
    return IdTable(pq.read_table(folder / USERS_FILE)[columns.USER_ID])


def _checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, once every file has been found to be the one that it names."""
    path = folder / columns.MANIFEST
    if not path.exists():
        raise InputError(f"{folder}: no prepared data here ({path.name} is missing); run pipelines/prepare.py")
    manifest = stored_json(path, AGAIN, InputError)
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{folder}: prepared data of format {quoted(manifest.get('format'))}, expected {FORMAT}; "
            "run pipelines/prepare.py again"
        )
    digests = Digests(folder / columns.DIGESTS)
    with reading(path, AGAIN, InputError):
        files, modalities = dict(manifest["files"]), list(manifest["modalities"])
        missing = {*_FILES, *map(content_file, modalities)} - files.keys()
        if missing:
            raise ValueError(f"it does not list {min(missing)}")
        if any(Path(name).name != name for name in files):
            raise ValueError("it lists files of other folders")
    for name, digest in files.items():
        with reading(folder / name, AGAIN, InputError):
            if not digests.matches(regular(folder / name), digest):
                raise InputError(f"{folder / name}: it was changed after it was prepared; {AGAIN}")
    with suppress(OSError):  # A folder that cannot be written can be used all the same.
        digests.save(folder / columns.DIGESTS, others=True)
    return manifest
