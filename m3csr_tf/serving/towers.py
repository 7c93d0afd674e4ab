"""Saved towers as functions from frames to vectors, in batches."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue

BATCH = 4096
ITEM_VOCABULARY = "items.txt"
USER_VOCABULARY = "users.txt"


class SavedItemTower:
    """An item tower, loaded from its SavedModel.

    Args:
      folder: the SavedModel.
    """

    def __init__(self, folder: Path) -> None:
        self._model = tf.saved_model.load(str(folder))
        self._serve = self._model.signatures[columns.SERVING_DEFAULT]

    def vectors(self, catalogue: Catalogue) -> np.ndarray:
        """Item vectors float32 [items, D], known items or not; a view count of -1 is unknown."""
        ids = catalogue.frame[columns.ITEM_ID].to_numpy(dtype=object)
        views = catalogue.frame[columns.VIEW_COUNT].to_numpy(np.int64)
        batches = [
            self._serve(
                item_id=tf.constant(ids[start : start + BATCH], tf.string),
                view_count=tf.constant(views[start : start + BATCH]),
                **{name: tf.constant(raw[start : start + BATCH]) for name, raw in catalogue.content.items()},
            )[columns.ITEM_VECTOR].numpy()
            for start in range(0, max(1, len(ids)), BATCH)
        ]
        return np.concatenate(batches)


class SavedUserTower:
    """A user tower, loaded from its SavedModel.

    Args:
      folder: the SavedModel.
      history_length: slots that the tower was trained with.
    """

    def __init__(self, folder: Path, history_length: int) -> None:
        self._model = tf.saved_model.load(str(folder))
        self._serve = self._model.signatures[columns.SERVING_DEFAULT]
        self._history_length = history_length
        vocabulary = (Path(folder) / "assets" / ITEM_VOCABULARY).read_bytes().decode("utf-8")
        self._known = pd.Index(vocabulary.split("\n")[:-1], dtype=object)

    def vectors(self, users: pd.DataFrame) -> np.ndarray:
        """User vectors float32 [users, D].

        Args:
          users: user_id, and history, a list of item ids, oldest first. The last `history_length` different ones that
            the tower knows are used, as in training.
        """
        batches = []
        for start in range(0, max(1, len(users)), BATCH):
            batch = users.iloc[start : start + BATCH]
            history = self._padded(batch[columns.HISTORY])
            answer = self._serve(
                user_id=tf.constant(batch[columns.USER_ID].to_numpy(dtype=object), tf.string),
                history=tf.constant(history, tf.string, shape=history.shape),
            )
            batches.append(answer[columns.USER_VECTOR].numpy())
        return np.concatenate(batches)

    def _padded(self, histories: pd.Series) -> np.ndarray:
        """The latest known items of each history, object array of str [users, slots], padded with ""."""
        items, owners = flatten(histories)
        rows = self._known.get_indexer(items)
        again = pd.Series(owners * len(self._known) + rows).duplicated(keep="last").to_numpy(dtype=bool)
        items, owners = (values[(rows >= 0) & ~again] for values in (items, owners))
        sizes = np.bincount(owners, minlength=len(histories))
        ends = np.cumsum(sizes)
        slots = np.arange(len(owners)) - np.maximum(ends - self._history_length, ends - sizes)[owners]
        kept = slots >= 0
        padded = np.full([len(histories), int(slots.max(initial=-1)) + 1], "", dtype=object)
        padded[owners[kept], slots[kept]] = items[kept]
        return padded


def flatten(lists: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """All entries of a column of lists, object [entries], and the position of each one's list, int64 [entries]."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    entries = np.empty(int(lengths.sum()), dtype=object)
    entries[:] = list(chain.from_iterable(lists))
    return entries, np.repeat(np.arange(len(lists)), lengths)
