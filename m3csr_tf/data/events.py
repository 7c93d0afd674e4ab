"""Reads what the rows of a log weigh (`data.events`): by the kind of feedback that they name, or by a number."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.config.events import LARGEST_WEIGHT, EventsConfig, Repeated, Transform
from m3csr_tf.data.cells import refuse, to_floats
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import say
from m3csr_tf.util.quoting import quoted

Extent = tuple[float, float]
"""The smallest and the largest of some weights."""
OTHER_KINDS = "left_out_by_kind"
WITHOUT_VALUE = "rows_without_event"
TOO_SMALL = "left_out_by_number"
_EXPECTED = "a number from 0"
_UNCAPPED = f"a number from 0 to {LARGEST_WEIGHT:.0e}, or data.events.at_most, which larger ones count as"
_SHOWN = 8
"""Kinds that a line names, at most."""
_TRACKED = 10_000
"""Kinds that are counted one by one; a column of more holds something else."""


class EventReader:
    """Gives the rows of a log their weights, block by block, and leaves out those that do not count.

    Args:
      config: the configuration section `data.events`, with a column.
      path: the name of the table in messages.
    """

    def __init__(self, config: EventsConfig, path: str) -> None:
        self._config, self._path = config, path
        self._kinds = pa.array(list(config.kinds), pa.string())
        self._weights = np.array(list(config.kinds.values()), np.float64)
        self._found: Counter[str] = Counter()
        self._rows, self._kept, self._nothing, self._too_small, self._others = 0, 0, 0, 0, 0

    def weighed(self, block: pa.Table, before: int, source: str) -> pa.Table:
        """Replaces the column `event` of a block by `weight` and, where kinds are named, `kinds`, and drops rows.

        Args:
          block: rows with the column `columns.EVENT`.
          before: number of rows of the blocks before, for messages.
          source: the name of the input in messages that count rows.

        Returns:
          The rows that count, with `columns.WEIGHT`, float64 above 0, and `columns.KINDS`, int64, whose bit k is set
          where the row is of the k-th kind of `data.events.kinds`.

        Raises:
          InputError: a cell is neither a kind nor a number from 0.
        """
        cells = block[columns.EVENT].combine_chunks()
        rest = block.drop_columns(columns.EVENT)
        if self._config.kinds:
            position = self._positions(cells)
            kept = position >= 0
            added = {
                columns.WEIGHT: self._weights[position[kept]],
                columns.KINDS: np.int64(1) << position[kept].astype(np.int64),
            }
        else:
            weights = self._of_numbers(cells, before, source)
            kept = weights > 0
            added = {columns.WEIGHT: weights[kept]}
        self._rows += len(block)
        self._kept += int(kept.sum())
        rest = rest.filter(pa.array(kept))
        for name, values in added.items():
            rest = rest.append_column(name, pa.array(values))
        return rest

    def finish(self) -> None:
        """Says which rows were left out, and which kinds never came.

        Raises:
          InputError: no row is left.
        """
        column = quoted(str(self._config.column))
        others = {kind: count for kind, count in self._found.most_common() if kind not in self._config.kinds}
        if self._rows and not self._kept:
            what = f"holds {_listed(others)}" if others else "holds no such number or kind"
            raise InputError(
                f"{self._path}: none of its {self._rows:,} rows counts: column {column} {what}; check data.events "
                f"({'kinds ' + ', '.join(map(quoted, self._config.kinds)) if self._config.kinds else 'at_least'})"
            )
        if self._others:
            say(f"{self._others:,} rows left out, of kinds that data.events.kinds does not name: {_listed(others)}")
        if self._nothing:
            say(f"{self._nothing:,} rows left out: column {column} holds nothing there")
        if self._too_small:
            say(f"{self._too_small:,} rows left out: column {column} is {self._least_in_words()}")
        for kind in self._config.kinds:
            if kind not in self._found:
                say(f"data.events.kinds names {quoted(kind)}, of which column {column} has no row")

    def counts(self) -> dict[str, int]:
        """Returns how many rows were left out, by reason."""
        if self._config.kinds:
            return {OTHER_KINDS: self._others, WITHOUT_VALUE: self._nothing}
        return {TOO_SMALL: self._too_small, WITHOUT_VALUE: self._nothing}

    def _least_in_words(self) -> str:
        return f"below {self._config.at_least:g}" if self._config.at_least else "0"

    def _positions(self, cells: pa.Array) -> np.ndarray:
        """Returns the place of each row's kind in `data.events.kinds`, int64 [rows]; -1 for what does not count."""
        names = self._names(cells)
        place = pc.fill_null(pc.index_in(names, value_set=self._kinds), -1).to_numpy(zero_copy_only=False)
        nothing = np.asarray(pc.is_null(names))
        self._nothing += int(nothing.sum())
        self._others += int(((place < 0) & ~nothing).sum())
        for kind, count in zip(*pc.value_counts(names).flatten(), strict=True):
            if kind.is_valid and (kind.as_py() in self._found or len(self._found) < _TRACKED):
                self._found[kind.as_py()] += count.as_py()
        return np.where(nothing, -1, place).astype(np.int64)

    def _names(self, cells: pa.Array) -> pa.Array:
        """Returns cells as text: whole numbers without a point, booleans as true and false; null where they are empty.

        Raises:
          InputError: they hold something else than text, numbers and booleans.
        """
        if pa.types.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        kind = cells.type
        if pa.types.is_floating(kind):
            plain = [None if value is None or np.isnan(value) else f"{value:.15g}" for value in cells.to_pylist()]
            return pa.array(plain, pa.string())
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise InputError(
                f"{self._path}: column {quoted(str(self._config.column))} holds {kind} values; data.events.kinds "
                "expects text or whole numbers there"
            )
        names = pc.cast(cells, pa.string())
        return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names) if is_text else names

    def _of_numbers(self, cells: pa.Array, before: int, source: str) -> np.ndarray:
        """Returns the weights of rows by their numbers, float64 [rows]; 0 for what does not count."""
        if pa.types.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        series = cells.to_pandas(integer_object_nulls=True).rename(self._config.column)
        series = series.set_axis(pd.RangeIndex(before, before + len(series)))
        if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
            series = series.mask(series.str.strip() == "")
        values = to_floats(series, source, _EXPECTED).to_numpy()
        refuse(np.isinf(values) | (values < 0), series, source, _EXPECTED)
        nothing = np.isnan(values)
        small = ~nothing & ((values == 0) | (values < self._config.at_least))
        self._nothing += int(nothing.sum())
        self._too_small += int(small.sum())
        if self._config.at_most is not None:
            values = np.minimum(values, self._config.at_most)
        refuse(values > LARGEST_WEIGHT, series, source, _UNCAPPED)
        return np.where(nothing | small, 0.0, transformed(values, self._config.transform))


def transformed(values: np.ndarray, transform: Transform) -> np.ndarray:
    """Returns what numbers above 0 weigh, float64 of the same shape, as `data.events.transform` says."""
    match transform:
        case "log":
            return np.log1p(values)
        case "root":
            return np.sqrt(values)
        case "flat":
            return np.ones_like(values)
        case _:
            return values


def are_weighted(rows: pd.DataFrame, merged: pd.DataFrame, source: str, repeated: Repeated | None) -> bool:
    """Returns whether the interactions of a log in memory differ in weight, as `weights_differ` says.

    Args:
      rows: the log as read, which has been found valid.
      merged: the interactions that its rows were merged into.
      source: the name of the log.
      repeated: `data.events.repeated`.
    """
    read = to_floats(rows[columns.WEIGHT], source, _EXPECTED) if columns.WEIGHT in rows else None
    return weights_differ(extent_of(read), extent_of(merged.get(columns.WEIGHT)), repeated)


def weights_differ(read: Extent | None, merged: Extent | None, repeated: Repeated | None) -> bool:
    """Returns whether interactions differ in weight, so that a training can draw them by weight.

    Without `data.events.repeated`, repeated rows are a reason to differ only where weights were given that differ: a
    log whose weights are all 1 is like one without weights, in which repeated clicks count once.

    Args:
      read: the smallest and the largest weight of a row as read, None if there are none.
      merged: the same, after repeated rows were merged.
      repeated: `data.events.repeated`.
    """
    extents = (read, merged) if repeated is None else (merged,)
    return all(extent is not None and extent[0] < extent[1] for extent in extents)


def extent_of(weights: pd.Series | None) -> Extent | None:
    """Returns the smallest and the largest of some weights, or None if there are none."""
    return None if weights is None or not len(weights) else (float(weights.min()), float(weights.max()))


def wider(one: Extent | None, other: Extent | None) -> Extent | None:
    """Returns the extent of two sets of weights together."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _listed(counts: dict[str, int]) -> str:
    shown = [f"{quoted(kind)} ({count:,})" for kind, count in list(counts.items())[:_SHOWN]]
    return ", ".join([*shown, *([f"and {len(counts) - _SHOWN:,} more"] if len(counts) > _SHOWN else [])])
