"""Layout "mind": behaviors.tsv of Microsoft's news data set (MIND), whose impressions say what was clicked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.quoting import quoted

FILE = "behaviors.tsv"
_HISTORY, _IMPRESSIONS = "history", "impressions"
_FIELDS = ("impression_id", columns.USER_ID, columns.TIMESTAMP, _HISTORY, _IMPRESSIONS)
_TIMES = "%m/%d/%Y %I:%M:%S %p"
_BLOCK = 100_000
NOT_CLICKED, OF_HISTORY = "impressions_not_clicked", "history_entries_left_out"


class MindLayout(LogLayout):
    """Reads behaviors.tsv, in which every clicked impression is an interaction at the time of its row.

    The clicks in the column of histories have no time, so they are left out and counted.
    """

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return [self.existing(FILE)]

    def log(self, on_progress: ProgressCallback | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
        """See `Layout`."""
        path = self.existing(FILE)
        part = Delimited(path, Dialect("\t", found=False, names=_FIELDS, quoted=False))
        clicks, counts, before = [], Counter({NOT_CLICKED: 0, OF_HISTORY: 0}), 0
        for block in TableFiles(path, [(part, {})]).blocks(_FIELDS[1:], _FIELDS[1:], _BLOCK, on_progress):
            frame = to_pandas(block).set_axis(pd.RangeIndex(before, before + len(block)))
            clicked, left_out = _clicked(frame, path)
            clicks.append(clicked)
            counts.update(left_out)
            before += len(block)
        return pd.concat(clicks, ignore_index=True), dict(counts)


def _clicked(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Returns the clicked impressions of some rows, and the numbers of impressions and clicks that are left out."""
    times = pd.to_datetime(frame[columns.TIMESTAMP], format=_TIMES, errors="coerce", utc=True)
    _refuse(times.isna(), frame[columns.TIMESTAMP], path, "a time such as 11/15/2019 9:05:58 AM")
    frame[columns.TIMESTAMP] = times
    shown = frame.assign(**{_IMPRESSIONS: frame[_IMPRESSIONS].str.split()}).explode(_IMPRESSIONS)
    shown = shown.dropna(subset=[_IMPRESSIONS])
    labelled = shown[_IMPRESSIONS].str.rsplit("-", n=1, expand=True).reindex(columns=[0, 1])
    _refuse(~labelled[1].isin(["0", "1"]), shown[_IMPRESSIONS], path, "an item and 0 or 1, as N55689-1")
    clicked = shown.assign(**{columns.ITEM_ID: labelled[0]})[labelled[1] == "1"]
    counts = {
        NOT_CLICKED: len(shown) - len(clicked),
        OF_HISTORY: int(frame[_HISTORY].str.split().str.len().sum()),
    }
    return clicked[[columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP]], counts


def _refuse(bad: pd.Series, cells: pd.Series, path: Path, expected: str) -> None:
    if bad.any():
        at = int(bad.to_numpy().argmax())
        raise InputError(
            f"{path}: {cells.name} in line {cells.index[at] + 1} is {quoted(cells.iloc[at])}; expected {expected}"
        )
