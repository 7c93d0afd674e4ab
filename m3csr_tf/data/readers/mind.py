"""Layout "mind": behaviors.tsv of Microsoft's news data set (MIND), whose impressions say what was clicked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

FILE = "behaviors.tsv"
_HISTORY, _IMPRESSIONS = "history", "impressions"
_FIELDS = ("impression_id", columns.USER_ID, columns.TIMESTAMP, _HISTORY, _IMPRESSIONS)
_TIMES = "%m/%d/%Y %I:%M:%S %p"
NOT_CLICKED, OF_HISTORY = "impressions_not_clicked", "history_entries_left_out"


class MindLayout(LogLayout):
    """Reads behaviors.tsv, in which every clicked impression is an interaction at the time of its row.

    The clicks in the column of histories have no time, so they are left out and counted.
    """

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return [self.existing(FILE)]

    def log(self) -> tuple[pd.DataFrame, dict[str, int]]:
        """See `Layout`."""
        path = self.existing(FILE)
        part = Delimited(path, Dialect("\t", found=False, names=_FIELDS, quoted=False))
        frame = to_pandas(TableFiles(path, [(part, {})]).load(_FIELDS[1:], _FIELDS[1:]))
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
        wanted = [columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP]
        return clicked[wanted].reset_index(drop=True), counts


def _refuse(bad: pd.Series, cells: pd.Series, path: Path, expected: str) -> None:
    if bad.any():
        at = int(bad.to_numpy().argmax())
        raise InputError(
            f"{path}: {cells.name} in line {cells.index[at] + 1} is {quoted(cells.iloc[at])}; expected {expected}"
        )
