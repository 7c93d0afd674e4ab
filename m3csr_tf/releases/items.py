"""The items of a release: view counts, popularity bins and raw content, which the towers need again after publication.

Three operations need content that was given once, perhaps long ago: an update of popularity, the history of a user who
clicked a video that is not in the user tower's table, and carrying over refreshed items into the next version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import ColdConfig
from m3csr_tf.data import cold
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, Catalogue, numbers_of
from m3csr_tf.errors import ReleaseError
from m3csr_tf.features.popularity import bins_of
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.kept_values import KeptValues
from m3csr_tf.util.matrix_file import MatrixFile
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.stored import reading, stored_array

_ITEMS = "items.parquet"
_REMOVED = "removed.parquet"
_WRITTEN_AT_ONCE = 65_536
NEVER_TRAINED = -1
"""The training bin of an item that is not in the tables of the towers."""


class ItemStore:
    """Items by id, including all that were added, changed or removed since the store was written.

    Args:
      frame: item_id (str, distinct), view_count (int64, -1 if unknown), training_bin (int32, -1 if the towers lack the
        item) and refreshed (bool, whether it was added or changed by refresh); where they are known, publish_time
        (float64 Unix seconds, NaN if unknown) and training_views (int64, the views at the training, -1 if unknown).
      content: modality -> raw vectors float32 [items, width], in the order of `frame`; a row that is all NaN means that
        the item lacks the modality.
      edges: int64, lower edges of the popularity bins from bin 1 on (`features.popularity`).
      removed: ids that were removed and not added again, which a later version must not bring back.
      kept: the values of the columns that the release keeps, in the order of `frame`; None for no columns.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        content: Mapping[str, np.ndarray],
        edges: np.ndarray,
        removed: set[str],
        kept: KeptValues | None = None,
    ) -> None:
        self._base = pd.Index(frame[columns.ITEM_ID].to_numpy(dtype=object))
        self._views = frame[columns.VIEW_COUNT].to_numpy(np.int64, copy=True)
        self._bins = frame[columns.TRAINING_BIN].to_numpy(np.int32)
        self._published = numbers_of(frame, columns.PUBLISH_TIME, np.nan).astype(np.float64)
        self._training_views = numbers_of(frame, columns.TRAINING_VIEWS, UNKNOWN_VIEWS).astype(np.int64)
        self._refreshed = set(frame[columns.ITEM_ID][frame[columns.REFRESHED].to_numpy(bool)])
        self._content = dict(content)
        self._edges = edges
        self._views_since: dict[str, int] = {}
        self._published_since: dict[str, float] = {}
        self._content_since: dict[str, dict[str, np.ndarray]] = {}
        self._gone: set[str] = set()
        self._kept = kept or KeptValues({})
        self.removed = set(removed)

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> width of its raw vectors."""
        return {name: int(vectors.shape[1]) for name, vectors in self._content.items()}

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the catalogue that the release keeps."""
        return self._kept.names

    @property
    def ids(self) -> np.ndarray:
        """Ids of the current items, object array of str [items]."""
        base = self._base.to_numpy()
        if self._gone:
            base = base[~self._base.isin(list(self._gone))]
        changed = self.changed
        return np.concatenate([base, changed[self._base.get_indexer(changed) < 0]])

    @property
    def changed(self) -> np.ndarray:
        """Ids of items added or changed since the store was written, object array of str."""
        return np.asarray(list(self._views_since), dtype=object)

    def refreshed(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether each item was added or changed by refresh, here or in an earlier version, bool [ids]."""
        return np.fromiter((item in self._refreshed for item in ids), bool, len(ids))

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether the store holds each of `ids`, bool [ids]."""
        ids = np.asarray(ids, dtype=object)
        in_release = self._base.get_indexer(ids) >= 0
        if self._gone or self._views_since:
            changed = np.fromiter((item in self._views_since for item in ids), bool, len(ids))
            gone = np.fromiter((item in self._gone for item in ids), bool, len(ids))
            in_release = (in_release & ~gone) | changed
        return in_release

    def views(self, ids: np.ndarray) -> np.ndarray:
        """Returns the view counts of items, int64 [ids], -1 where unknown.

        Raises:
          KeyError: an item is not in the store.
        """
        rows = self._rows(ids)
        views = np.where(rows >= 0, self._views[np.maximum(rows, 0)], UNKNOWN_VIEWS)
        for line, item in enumerate(ids):
            if item in self._views_since:
                views[line] = self._views_since[item]
        return views

    def values(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the values of kept columns, column -> object array of str [ids], None where an item has no value.

        Raises:
          KeyError: an item is not in the store.
        """
        return self._kept.of(np.asarray(ids, dtype=object), self._rows(ids))

    def training_bins(self, ids: np.ndarray) -> np.ndarray:
        """Returns the popularity bins at the training, int32 [ids], -1 for items that are not in the towers' tables.

        Raises:
          KeyError: an item is not in the store.
        """
        rows = self._rows(ids)
        return np.where(rows >= 0, self._bins[np.maximum(rows, 0)], NEVER_TRAINED).astype(np.int32)

    def bins(self, ids: np.ndarray) -> np.ndarray:
        """Returns the popularity bins that the item tower uses, int32 [ids].

        A known view count decides the bin. If the count is unknown, an item keeps its bin of the training, and an item
        that was not in the training is in bin 0.

        Raises:
          KeyError: an item is not in the store.
        """
        views = self.views(ids)
        return np.where(views >= 0, bins_of(views, self._edges), np.maximum(self.training_bins(ids), 0))

    def publish_times(self, ids: np.ndarray) -> np.ndarray:
        """Returns when items were published, Unix seconds, float64 [ids], NaN where unknown.

        Raises:
          KeyError: an item is not in the store.
        """
        rows = self._rows(ids)
        times = np.where(rows >= 0, self._published[np.maximum(rows, 0)], np.nan)
        for line, item in enumerate(ids):
            if item in self._published_since:
                times[line] = self._published_since[item]
        return times

    def is_cold(self, ids: np.ndarray, rule: ColdConfig | None = None, now: float = np.nan) -> np.ndarray:
        """Returns which items are cold, bool [ids] (`data.cold.is_cold`).

        Without a rule, an item without a click is one in popularity bin 0. An unknown view count is that of the
        training, and an item that was not in the training and has no view count has no views.

        Args:
          ids: the items.
          rule: the largest age and number of views; None for neither.
          now: the time at which ages are taken, in Unix seconds.

        Raises:
          KeyError: an item is not in the store.
        """
        rows, views = self._rows(ids), self.views(ids)
        at_training = np.where(rows >= 0, self._training_views[np.maximum(rows, 0)], UNKNOWN_VIEWS)
        return cold.is_cold(
            rule or ColdConfig(),
            cold.ages(self.publish_times(ids), now),
            np.where(views >= 0, views, np.maximum(at_training, 0)),
            self.bins(ids) == 0,
        )

    def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Returns raw content, modality -> float32 [ids, width]; a row that is all NaN lacks the modality.

        Raises:
          KeyError: an item is not in the store.
        """
        rows = self._rows(ids)
        given = [(line, self._content_since[item]) for line, item in enumerate(ids) if item in self._content_since]
        content = {}
        for name, vectors in self._content.items():
            found = np.asarray(vectors[np.maximum(rows, 0)], dtype=np.float32) if len(vectors) else None
            taken = np.empty([len(rows), vectors.shape[1]], np.float32) if found is None else found
            for line, vectors_of in given:
                taken[line] = vectors_of[name]
            content[name] = taken
        return content

    def catalogue(self, ids: np.ndarray) -> Catalogue:
        """Returns items of the store in the form that the item tower takes.

        Raises:
          KeyError: an item is not in the store.
        """
        frame = pd.DataFrame({columns.ITEM_ID: np.asarray(ids, dtype=object), columns.VIEW_COUNT: self.views(ids)})
        frame[columns.PUBLISH_TIME] = self.publish_times(ids)
        return Catalogue(frame, self.content(ids))

    def upsert(
        self,
        items: Catalogue,
        has_content: np.ndarray,
        refreshed: np.ndarray,
        values: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Adds items, or replaces the view counts, content and values of items that are in the store.

        A known publish time replaces an earlier one; an item without one keeps its earlier one.

        Args:
          items: the items.
          has_content: bool [items], False for a known item that keeps its content.
          refreshed: bool [items], whether the item comes by refresh.
          values: kept column -> object array of str [items], for every column that the release keeps.
        """
        ids = items.frame[columns.ITEM_ID].tolist()
        views = items.frame[columns.VIEW_COUNT].tolist()
        published = numbers_of(items.frame, columns.PUBLISH_TIME, np.nan)
        for line, (item, count) in enumerate(zip(ids, views, strict=True)):
            if has_content[line]:
                self._content_since[item] = {name: vectors[line].copy() for name, vectors in items.content.items()}
            if refreshed[line]:
                self._refreshed.add(item)
            if not np.isnan(published[line]):
                self._published_since[item] = float(published[line])
            self._views_since[item] = count
            self._gone.discard(item)
            self.removed.discard(item)
        self._kept.set(ids, values or {})

    def remove(self, ids: list[str]) -> None:
        """Removes items. The removal of an unknown id is recorded too, so that no later version brings it back."""
        for item in ids:
            self._content_since.pop(item, None)
            self._views_since.pop(item, None)
            self._published_since.pop(item, None)
            self._refreshed.discard(item)
            self._gone.add(item)
            self.removed.add(item)

    def save(self, folder: Path) -> None:
        """Writes the current items to a new folder."""
        folder.mkdir(parents=True)
        ids = self.ids
        rows = self._rows(ids)
        frame = pd.DataFrame(
            {
                columns.ITEM_ID: ids,
                columns.VIEW_COUNT: self.views(ids),
                columns.TRAINING_BIN: self.training_bins(ids),
                columns.REFRESHED: self.refreshed(ids),
                columns.PUBLISH_TIME: self.publish_times(ids),
                columns.TRAINING_VIEWS: np.where(rows >= 0, self._training_views[np.maximum(rows, 0)], UNKNOWN_VIEWS),
            }
        )
        frame.to_parquet(folder / _ITEMS, index=False)
        self._kept.save(folder, ids, self._rows(ids))
        pd.DataFrame({columns.ITEM_ID: sorted(self.removed)}, dtype=object).to_parquet(folder / _REMOVED, index=False)
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(MatrixFile(_content_path(folder, name), len(ids), width))
                for name, width in self.modalities.items()
            }
            for start in range(0, len(ids), _WRITTEN_AT_ONCE):
                for name, vectors in self.content(ids[start : start + _WRITTEN_AT_ONCE]).items():
                    files[name].write(vectors)

    @classmethod
    def load(
        cls, folder: Path, modalities: Mapping[str, int], edges: np.ndarray, kept_columns: Sequence[str] = ()
    ) -> ItemStore:
        """Reads a store that `save` has written; content is memory-mapped and read when it is needed.

        Raises:
          ReleaseError: a file is missing, is broken, or does not fit the others.
        """
        with reading(folder, "put it back, roll back, or release again", ReleaseError):
            frame = pd.read_parquet(folder / _ITEMS)
            removed = set(pd.read_parquet(folder / _REMOVED)[columns.ITEM_ID])
            content = {
                name: stored_array(_content_path(folder, name), (len(frame), width), "f", mapped=True)
                for name, width in modalities.items()
            }
            store = cls(frame, content, edges, removed, KeptValues.load(folder, kept_columns, len(frame)))
        return store

    @classmethod
    def of_training(
        cls,
        ids: np.ndarray,
        bins: np.ndarray,
        content: Mapping[str, np.ndarray],
        edges: np.ndarray,
        values: Mapping[str, np.ndarray],
        published: np.ndarray | float = np.nan,
        views: np.ndarray | int = UNKNOWN_VIEWS,
    ) -> ItemStore:
        """Makes a store of the items of a training; their view counts are unknown, so the bins of the training apply.

        Args:
          ids: object array of str [items].
          bins: int32 [FIRST_ROW + items], as `Prepared.bins`.
          content: modality -> float32 [FIRST_ROW + items, width], as `Prepared.content`.
          edges: lower edges of the popularity bins, as in `ItemStore`.
          values: kept column -> object array of str [items], None where an item has no value.
          published: publish times in Unix seconds, [items], NaN where unknown.
          views: views at the training, int64 [items]; they make an item cold or not and do not move its bin.
        """
        frame = pd.DataFrame(
            {
                columns.ITEM_ID: ids,
                columns.VIEW_COUNT: UNKNOWN_VIEWS,
                columns.TRAINING_BIN: bins[FIRST_ROW:],
                columns.REFRESHED: False,
                columns.PUBLISH_TIME: published,
                columns.TRAINING_VIEWS: views,
            }
        )
        raw = {name: vectors[FIRST_ROW:] for name, vectors in content.items()}
        return cls(frame, raw, edges, set(), KeptValues(values))

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        """Returns the positions of items in the stored arrays, -1 for items that were added since."""
        ids = np.asarray(ids, dtype=object)
        in_release = self.holds(ids)
        if not in_release.all():
            raise KeyError(f"item {quoted(ids[int(np.argmin(in_release))])} is not in the release")
        return self._base.get_indexer(ids)


def _content_path(folder: Path, modality: str) -> Path:
    return folder / f"content_{modality}.npy"
