"""The prepared folder holds all that training, evaluation and release need, as id tables, row numbers and arrays.

`prepare.py` writes the folder, and everything else opens it through `Prepared.open`. Its files are:

| file | holds |
| --- | --- |
| manifest.json | the format, settings, input files and versions, counts, and digests of the centres and of each file |
| users.parquet | user_id, in the order of user rows from FIRST_ROW on |
| items.parquet | item_id, view_count (-1 if unknown), publish_time (if the input has it), and more (see below) |
| train.parquet, val.parquet, test.parquet | user_row and item_row (int32), timestamp, weight and kinds (int64) if the \
input has them, sorted; the row groups of train.parquet are shards (data/shards.py) |
| content_<modality>.npy | raw vectors float32 [rows, width] by item row; reserved rows are NaN, and so is that of an \
item that lacks the modality |
| scaling.npz | the content scaler |
| centres.npz, clusters.npy | the k-means centres of each modality; cluster ids int32 [rows, modalities] by item row, \
0 where the item lacks the modality |
| popularity.json | the source of the popularity bins and their lower edges |
| truth.npz | the truth of the synthetic world in row order from FIRST_ROW on; only for data.format=world |

Bit k of kinds says whether the interaction is of the k-th kind in the manifest (`data.events.kinds`).

items.parquet also holds train_clicks, train_weight (the sum of their weights, if they have some), popularity_bin,
is_cold (the item has no training click), is_strictly_cold (the split moved all its interactions out of training) and
is_pseudo_cold (it moved its training interactions to validation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
"""Version of the folder's format. A folder of another version is refused."""
AGAIN = "put it back, or run pipelines/prepare.py, with run.overwrite=true where the run has been trained"
_FILES = {"users.parquet", "items.parquet", "train.parquet", "val.parquet", "test.parquet", "popularity.json"} | {
    "scaling.npz",
    "centres.npz",
    "clusters.npy",
}


@dataclass(frozen=True)
class Prepared:
    """A prepared folder that has been opened and checked.

    Attributes:
      folder: the path of the folder.
      manifest: the contents of manifest.json.
      users, items: the id tables.
      catalogue: items.parquet without the ids: one row for each item, in row order from FIRST_ROW on.
      content: modality -> raw vectors float32 [len(items), width], memory-mapped and read-only. The padding and
        unknown rows are NaN, and so is the row of an item that lacks the modality.
      scaler, clusters, popularity: the fitted transformations, which the item tower repeats inside its graph.
      cluster_ids: int32 [len(items), modalities], 0 for the padding and unknown rows and where an item lacks the
        modality.
      bins: popularity bins int32 [len(items)], 0 for the padding and unknown rows.
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
        """Names of the modalities, in the order in which item and user vectors hold their parts."""
        return list(self.content)

    @property
    def weighted(self) -> bool:
        """Whether interactions have weights that differ."""
        return bool(self.manifest.get("weighted", False))

    @property
    def kinds(self) -> list[str]:
        """The kinds of feedback that interactions are told apart by, in the order of the bits of the column kinds."""
        return list(self.manifest.get("kinds", ()))

    def kind_bits(self, kinds: Sequence[str]) -> int:
        """Returns the bits of some kinds in the column kinds.

        Raises:
          InputError: the data do not tell interactions of one of them apart.
        """
        known = self.kinds
        for kind in kinds:
            if kind not in known:
                there = f"they have {', '.join(map(quoted, known))}" if known else "they tell no kinds apart"
                raise InputError(
                    f"{self.folder}: evaluation.kinds names {quoted(kind)}, but of these data {there}; name kinds of "
                    "data.events.kinds"
                )
        return sum(1 << known.index(kind) for kind in set(kinds))

    def split(self, name: str, users: np.ndarray | None = None) -> pd.DataFrame:
        """Reads the interactions of a split: user_row and item_row (int32), and the other columns, sorted by both rows.

        Args:
          name: "train", "val" or "test".
          users: user rows int [n] whose interactions alone are returned, read one row group at a time; None for all.
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
        """Iterates over the row groups of a split in order of user rows; a row group of "train" holds whole users.

        Args:
          name: "train", "val" or "test".
          wanted: names of the columns to read; None for all.
          users: user rows int [n]; row groups that hold none of them are skipped where their statistics show it.
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
        """Returns the number of interactions of a split, from the metadata of its file."""
        return int(pq.read_metadata(self.folder / f"{name}.parquet").num_rows)

    @cached_property
    def train_shards(self) -> list[Shard]:
        """The shards of the training clicks, in the order of their user rows."""
        return shards_of(self.folder / "train.parquet")

    def read_shard(self, number: int) -> pd.DataFrame:
        """Reads the clicks of a shard, in the form that `split` returns."""
        with pq.ParquetFile(self.folder / "train.parquet") as file:
            return file.read_row_group(number).to_pandas()

    @cached_property
    def train_clicks(self) -> np.ndarray:
        """Number of training clicks of each item row, int64 [len(items)]; 0 for the padding and unknown rows."""
        return np.concatenate([np.zeros(FIRST_ROW, np.int64), self.catalogue[columns.TRAIN_CLICKS].to_numpy(np.int64)])

    @cached_property
    def known_views(self) -> np.ndarray:
        """Views of each item row, int64 [len(items)]: the catalogue's count, or, if unknown, the training clicks."""
        given = self.catalogue[columns.VIEW_COUNT].to_numpy(np.int64)
        return np.where(
            np.concatenate([np.zeros(FIRST_ROW, bool), given >= 0]), self._padded(given, 0), self.train_clicks
        )

    @cached_property
    def publish_times(self) -> np.ndarray:
        """Publish time of each item row in Unix seconds, float64 [len(items)], NaN where unknown."""
        if columns.PUBLISH_TIME not in self.catalogue:
            return np.full(len(self.items), np.nan)
        return self._padded(self.catalogue[columns.PUBLISH_TIME].to_numpy(np.float64), np.nan)

    @cached_property
    def periods(self) -> dict[str, tuple[float, float]]:
        """Split -> the times of its first and last click; a log without timestamps has none.

        Clicks on strictly cold and pseudo-cold items do not count, because they are in their split whenever they were.
        """
        marked = self.catalogue[[columns.IS_STRICTLY_COLD, columns.IS_PSEUDO_COLD]].to_numpy(bool).any(axis=1)
        counted = self._padded(~marked, False)
        found: dict[str, tuple[float, float]] = {}
        for name in columns.SPLITS:
            if columns.TIMESTAMP not in pq.read_schema(self.folder / f"{name}.parquet").names:
                continue
            for block in self.blocks(name, [columns.ITEM_ROW, columns.TIMESTAMP]):
                times = block[columns.TIMESTAMP].to_numpy(np.float64)[counted[block[columns.ITEM_ROW].to_numpy()]]
                times = times[~np.isnan(times)]
                if len(times):
                    first, last = found.get(name, (np.inf, -np.inf))
                    found[name] = min(first, float(times.min())), max(last, float(times.max()))
        return found

    def _padded(self, values: np.ndarray, reserved: float) -> np.ndarray:
        """Returns values by item row, made of those of the items, with `reserved` in the reserved rows."""
        return np.concatenate([np.full(FIRST_ROW, reserved, values.dtype), values])

    def truth(self) -> dict[str, np.ndarray] | None:
        """Returns the truth of the synthetic world (`world.make_world`), or None for real data.

        Raises:
          InputError: the file is broken.
        """
        path = self.folder / "truth.npz"
        if path.name not in self.manifest["files"]:
            return None
        with reading(path, AGAIN, InputError), np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Opens a prepared folder after checking every file of it against the manifest.

        A file whose size and times are those of its last check is not read again (`Digests`), so opening tens of
        gigabytes takes no time; only the first opening after a copy reads all files.

        Raises:
          InputError: the folder is missing, unfinished or of another format, or one of its files is missing, broken or
            was changed.
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
    """Reads the id table of the users."""
    return IdTable(pq.read_table(folder / USERS_FILE)[columns.USER_ID])


def _checked_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest and checks every file that it lists against its digest."""
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
    with suppress(OSError):  # A read-only folder can be used all the same, only without remembered digests.
        digests.save(folder / columns.DIGESTS, others=True)
    return manifest
