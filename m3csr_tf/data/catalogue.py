"""The catalogue: every item, its view count and publish time if known, and its content vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.interactions import to_ids, to_seconds
from m3csr_tf.errors import InputError

UNKNOWN_VIEWS = -1
LARGEST_ENTRY = 1e12
"""Of a vector, in absolute value: norms are taken in float32, where the square of 2e19 overflows, and a sum sooner."""
_NO_COUNTS = {"boolean", "complex", "date", "datetime", "datetime64", "timedelta", "timedelta64"}
"""Kinds of columns that pandas would turn into numbers without a word."""


@dataclass(frozen=True)
class Catalogue:
    """A checked catalogue.

    Attributes:
      frame: item_id (str, distinct), view_count (int64, -1: unknown) and, if known, publish_time (float64 or int64,
        NaN: unknown); a line an item.
      content: modality -> raw vectors float32 [items, width], in the order of `frame`; a row of NaN: the item lacks
        the modality.
    """

    frame: pd.DataFrame
    content: dict[str, np.ndarray]


def check_catalogue(frame: pd.DataFrame, content: Mapping[str, np.ndarray], source: str) -> Catalogue:
    """Checks a raw catalogue.

    Args:
      frame: item_id, and any of view_count (missing: unknown) and publish_time; other columns are dropped.
      content: modality -> vectors [items, width]; a row of NaN is absent.
      source: how messages call the input.

    Raises:
      InputError: a column is missing or mistyped, an id is empty or repeated, a view count is negative or no whole
        number, or a vector is NaN in part, infinite or beyond `LARGEST_ENTRY`.
    """
    if columns.ITEM_ID not in frame:
        raise InputError(f"{source}: column {columns.ITEM_ID} is missing; found {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise InputError(f"{source}: no items; expected a row for each item")
    frame = frame.reset_index(drop=True)
    ids = to_ids(frame[columns.ITEM_ID], source)
    repeated = ids.duplicated()
    if repeated.any():
        raise InputError(f"{source}: item {ids[repeated].iloc[0]!r} is listed twice; expected one row an item")
    checked = pd.DataFrame({columns.ITEM_ID: ids.to_numpy()}, dtype=object)
    checked[columns.VIEW_COUNT] = _views(frame, ids, source)
    if columns.PUBLISH_TIME in frame:
        checked[columns.PUBLISH_TIME] = to_seconds(frame[columns.PUBLISH_TIME], source).to_numpy()
    vectors = {name: check_vectors(values, ids.to_numpy(), name, source) for name, values in content.items()}
    return Catalogue(checked, vectors)


def check_vectors(vectors: np.ndarray, ids: np.ndarray, modality: str, source: str) -> np.ndarray:
    """Vectors as float32 [items, width], each of numbers up to `LARGEST_ENTRY` in absolute value, or NaN throughout.

    Raises:
      InputError: naming the first item whose vector is neither.
    """
    check = VectorCheck(modality, source)
    checked = check.checked(vectors)
    check.refuse(ids)
    return checked


class VectorCheck:
    """The check of `check_vectors`, block by block.

    Args:
      modality: its name.
      source: how messages call the input.

    Attributes:
      rows: vectors that have come before.
    """

    def __init__(self, modality: str, source: str) -> None:
        self.rows = 0
        self._modality = modality
        self._source = source
        self._bad = 0
        self._first: tuple[int, int, float] | None = None

    def checked(self, vectors: np.ndarray) -> np.ndarray:
        """The next vectors [n, width] as float32, C-contiguous; what is wrong with them is kept for `refuse`.

        Raises:
          InputError: their width is 0.
        """
        if vectors.shape[1] == 0:
            raise InputError(
                f"{self._source}: {self._modality} vectors have no entries; expected a width of at least 1"
            )
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        good = vectors <= LARGEST_ENTRY
        good &= vectors >= -LARGEST_ENTRY
        bad = ~good.all(axis=1)
        if bad.any():
            bad &= ~np.isnan(vectors).all(axis=1)
        if bad.any() and self._first is None:
            row = int(bad.argmax())
            entry = int((~good[row]).argmax())
            self._first = self.rows + row, entry, float(vectors[row, entry])
        self._bad += int(bad.sum())
        self.rows += len(vectors)
        return vectors

    def refuse(self, ids: np.ndarray) -> None:
        """Refuses what is wrong with the vectors so far.

        Args:
          ids: of their items, object [items].

        Raises:
          InputError: naming the first item whose vector is neither numbers throughout nor absent.
        """
        if self._first is not None:
            row, entry, value = self._first
            raise InputError(
                f"{self._source}: entry {entry} of the {self._modality} vector of item {ids[row]!r} is {value:.6g}; "
                f"expected finite numbers (float32, up to {LARGEST_ENTRY:g} in absolute value), or no vector at all "
                f"where the item lacks the modality ({self._bad} such items)"
            )


def _views(frame: pd.DataFrame, ids: pd.Series, source: str) -> np.ndarray:
    if columns.VIEW_COUNT not in frame:
        return np.full(len(frame), UNKNOWN_VIEWS, np.int64)
    kind = pd.api.types.infer_dtype(frame[columns.VIEW_COUNT], skipna=True)
    if kind in _NO_COUNTS:
        raise InputError(f"{source}: {columns.VIEW_COUNT} holds {kind} values; expected whole numbers from 0 up")
    views = pd.to_numeric(frame[columns.VIEW_COUNT], errors="coerce")
    given = frame[columns.VIEW_COUNT].notna()
    bad = np.asarray(given & ~((views >= 0) & (views < 2**63) & (views % 1 == 0)), dtype=bool)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{source}: {columns.VIEW_COUNT} of item {ids.iloc[row]!r} is {frame[columns.VIEW_COUNT].iloc[row]}; "
            "expected a whole number from 0 up, or nothing where it is unknown"
        )
    return views.fillna(UNKNOWN_VIEWS).to_numpy(np.int64)
