"""Layout "mmrec": one tab-separated .inter file with a column for the split, and .npy files of content."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.readers.layout import Layout
from m3csr_tf.data.readers.log import table_log
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.quoting import quoted

_NAMES = {columns.USER_ID: "userID", columns.ITEM_ID: "itemID", columns.SPLIT: "x_label"}
_LABELS = dict(zip(("0", "1", "2"), columns.SPLITS, strict=True))


class MmrecLayout(LogLayout):
    """Reads a .inter file with the columns userID and itemID, and perhaps x_label (the split) and timestamp."""

    takes_table = False

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return [inter_file(self)]

    def log(self, on_progress: ProgressCallback | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
        """See `Layout`."""
        path = inter_file(self)
        part = Delimited(path, Dialect("\t", found=False, quoted=False))
        names = {name: theirs for name, theirs in _NAMES.items() if theirs in part.names()} | self.config.columns
        log = table_log(self.config, path, [(part, {})], names)
        frame = to_pandas(log.load(on_progress))
        if columns.SPLIT in frame:
            labels = frame[columns.SPLIT].astype(str).str.removesuffix(".0")
            odd = ~labels.isin([*_LABELS, *columns.SPLITS])
            if odd.any():
                row = int(odd.to_numpy().argmax())
                raise InputError(
                    f"{log.source}: {names[columns.SPLIT]} in data row {row + 1} is {quoted(labels.iloc[row])}; "
                    "expected 0, 1 or 2 (train, val, test)"
                )
            frame[columns.SPLIT] = labels.replace(_LABELS)
        return frame, log.counts()


def inter_file(layout: Layout) -> Path:
    """Returns the path of the folder's .inter file.

    Raises:
      InputError: there is none, or there are several and `data.inter_file` does not name one of them.
    """
    if layout.config.inter_file is not None:
        return layout.existing(layout.config.inter_file)
    found = sorted(layout.folder.glob("*.inter"))
    if not found:
        raise InputError(f"{layout.folder}: no .inter file is there; check data.path and data.format")
    if len(found) > 1:
        raise InputError(f"{layout.folder}: {len(found)} .inter files are there; name one in data.inter_file")
    return found[0]
