"""The checked catalogue: every item with its content vectors and, where they are known, view count and publish time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.data.cells import LARGEST_EXACT, is_missing, plain
from m3csr_tf.data.id_columns import NumberForms, to_ids
from m3csr_tf.data.times import to_seconds
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback, after
from m3csr_tf.util.quoting import is_utf8, printable, quoted

UNKNOWN_VIEWS = -1
LONGEST_TEXT = 500
"""Number of characters that are kept of a title, and of the address of a picture or a video."""
LARGEST_ENTRY = 1e12
"""Largest absolute value of a vector's entry. Norms are taken in float32, in which the square of 2e19 overflows, and a
sum of squares sooner."""
_COUNTS = {"integer", "floating", "mixed-integer-float", "decimal", "string", "mixed", "mixed-integer", "empty"}
_COUNT = re.compile(r"[0-9]+(?:\.0*)?")


@dataclass(frozen=True)
class Catalogue:
    """A catalogue that has passed its checks.

    Attributes:
      frame: one row for each item, with the columns item_id (str, distinct) and view_count (int64, -1 if unknown) and,
        where the input has them, publish_time (float64 or int64, NaN if unknown) and title, image and url (str, "" if
        there is none).
      content: modality -> raw vectors float32 [items, width], in the order of `frame`. A row that is all NaN means that
        the item lacks the modality.
    """

    frame: pd.DataFrame
    content: dict[str, np.ndarray]

    def at(self, places: np.ndarray) -> Catalogue:
        """Some of its items.

        Args:
          places: int64 [some], positions in `frame`.
        """
        frame = self.frame.iloc[places].reset_index(drop=True)
        return Catalogue(frame, {name: vectors[places] for name, vectors in self.content.items()})


def check_catalogue(
    frame: pd.DataFrame,
    content: Mapping[str, np.ndarray],
    source: str,
    on_progress: ProgressCallback | None = None,
) -> Catalogue:
    """Checks a raw catalogue and brings its columns to their dtypes.

    Args:
      frame: the column item_id, and any of view_count (missing values are unknown counts), publish_time, title, image
        and url. Other columns are dropped.
      content: modality -> vectors [items, width]. A row that is all NaN means that the item lacks the modality.
      source: the name of the input in error messages.
      on_progress: progress callback, which gets the number of columns that are checked and of all columns.

    Raises:
      InputError: a column is missing or has a wrong type, an id is empty or repeated, a view count is negative or not a
        whole number, or a vector is partly NaN, infinite, or has an entry beyond `LARGEST_ENTRY`.
    """
    if columns.ITEM_ID not in frame:
        raise InputError(f"{source}: column {columns.ITEM_ID} is missing; found {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise InputError(f"{source}: no items; expected a row for each item")
    frame = frame.reset_index(drop=True)
    others = [name for name in (columns.PUBLISH_TIME, *columns.DISPLAYED) if name in frame]
    report = after(on_progress, 0, 2 + len(others))
    report(0, None)
    ids = to_ids(frame[columns.ITEM_ID], source)
    NumberForms(columns.ITEM_ID, source).see(pa.array(ids, pa.large_string()), 0)
    repeated = ids.duplicated()
    if repeated.any():
        raise InputError(f"{source}: item {quoted(ids[repeated].iloc[0])} is listed twice; expected one row an item")
    checked = pd.DataFrame({columns.ITEM_ID: ids.to_numpy()}, dtype=object)
    report(1, None)
    checked[columns.VIEW_COUNT] = _views(frame, ids, source)
    report(2, None)
    for name in others:
        is_time = name == columns.PUBLISH_TIME
        checked[name] = to_seconds(frame[name], source).to_numpy() if is_time else _texts(frame[name])
        report(len(checked.columns), None)
    vectors = {name: check_vectors(values, ids.to_numpy(), name, source) for name, values in content.items()}
    return Catalogue(checked, vectors)


def check_vectors(vectors: np.ndarray, ids: np.ndarray, modality: str, source: str) -> np.ndarray:
    """Checks the vectors of a modality and returns them as float32 [items, width].

    Each vector must either be all NaN, or consist of numbers of at most `LARGEST_ENTRY` in absolute value.

    Raises:
      InputError: a vector is neither; the message names the first such item.
    """
    check = VectorCheck(modality, source)
    checked = check.checked(vectors)
    check.refuse(ids)
    return checked


class VectorCheck:
    """Performs the check of `check_vectors` block by block, for content that is larger than memory.

    Args:
      modality: the name of the modality.
      source: the name of the input in error messages.

    Attributes:
      rows: number of vectors that have been checked so far.
    """

    def __init__(self, modality: str, source: str) -> None:
        self.rows = 0
        self._modality = modality
        self._source = source
        self._bad = 0
        self._first: tuple[int, int, float] | None = None

    def checked(self, vectors: np.ndarray) -> np.ndarray:
        """Checks the next vectors [n, width] and returns them as C-contiguous float32.

        A bad vector is remembered and not refused here: only `refuse` is given the ids that its message names.

        Raises:
          InputError: the width is 0.
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
        """Refuses the vectors that have been checked so far if one of them is bad.

        Args:
          ids: ids of the items in the order of their vectors, object [items].

        Raises:
          InputError: a vector is neither finite throughout nor all NaN; the message names the first such item.
        """
        if self._first is not None:
            row, entry, value = self._first
            raise InputError(
                f"{self._source}: entry {entry} of the {self._modality} vector of item {quoted(ids[row])} is "
                f"{value:.6g}; expected finite numbers (float32, up to {LARGEST_ENTRY:g} in absolute value), or no "
                f"vector at all where the item lacks the modality ({self._bad} such items)"
            )


def _texts(column: pd.Series) -> np.ndarray:
    """Returns texts for display, str [items], "" where there is none. Odd values are converted and never refused."""
    texts = ["" if is_missing(value) else str(value)[:LONGEST_TEXT] for value in column.to_numpy(object)]
    return np.array([text if is_utf8(text) else printable(text) for text in texts], dtype=object)


def _views(frame: pd.DataFrame, ids: pd.Series, source: str) -> np.ndarray:
    """Returns view counts int64 [items]. Whole numbers stay exact even in a column that also has missing values."""
    if columns.VIEW_COUNT not in frame:
        return np.full(len(frame), UNKNOWN_VIEWS, np.int64)
    column = plain(frame[columns.VIEW_COUNT])
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind not in _COUNTS:
        raise InputError(f"{source}: {columns.VIEW_COUNT} holds {kind} values; expected whole numbers from 0 up")
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu" and column.between(0, 2**63 - 1).all():
        return column.to_numpy(np.int64)
    views = np.full(len(column), UNKNOWN_VIEWS, np.int64)
    for place, value in enumerate(column.to_numpy(object)):
        if not is_missing(value):
            count = _count(value)
            if count is None:
                raise InputError(
                    f"{source}: {columns.VIEW_COUNT} of item {quoted(ids.iloc[place])} is {quoted(value)}; expected a "
                    "whole number from 0 up, or nothing where it is unknown"
                )
            views[place] = count
    return views


def _count(value: Any) -> int | None:
    """Converts a value without loss to a whole number in [0, 2^63), or returns None if it is not one."""
    if isinstance(value, str) and _COUNT.fullmatch(value) and len(value) < 40:
        count = int(value.split(".")[0])
    elif isinstance(value, float | np.floating) and value % 1 == 0 and float(value) <= LARGEST_EXACT:
        count = int(value)
    elif isinstance(value, Decimal) and value.is_finite() and value % 1 == 0:
        count = int(value)
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        count = int(value)
    else:
        return None
    return count if 0 <= count < 2**63 else None


def numbers_of(frame: pd.DataFrame, name: str, unknown: float) -> np.ndarray:
    """Returns a column of numbers of a table of items, `unknown` throughout if the table lacks it."""
    return frame[name].to_numpy() if name in frame else np.full(len(frame), unknown)
