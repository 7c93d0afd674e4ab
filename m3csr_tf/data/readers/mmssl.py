"""Layout "mmssl": one JSON file for each split, which maps users to lists of items, and .npy files of content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import read_json
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.quoting import quoted

_EXPECTED = "a mapping of user index to a list of item indices"


class MmsslLayout(LogLayout):
    """Reads train.json, val.json and test.json."""

    takes_table = False

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return [self.existing(f"{name}.json") for name in columns.SPLITS]

    def log(self, on_progress: ProgressCallback | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
        """See `Layout`."""
        paths = self.log_files()
        sizes = [path.stat().st_size for path in paths]
        splits: list[pd.DataFrame] = []
        for path, name in zip(paths, columns.SPLITS, strict=True):
            splits.append(_read_split(path, name))
            if on_progress is not None:
                on_progress(sum(sizes[: len(splits)]), sum(sizes))
        return pd.concat(splits, ignore_index=True), {}


def _read_split(path: Path, name: str) -> pd.DataFrame:
    lists = read_json(path, _EXPECTED)
    if not isinstance(lists, dict) or not all(isinstance(items, list) for items in lists.values()):
        raise InputError(f"{path}: expected {_EXPECTED}")
    users = np.repeat(np.array(list(lists), dtype=object), [len(items) for items in lists.values()])
    items = [item for items_of_user in lists.values() for item in items_of_user]
    kinds = {type(item) for item in items}
    if not kinds <= {int} and not kinds <= {str}:
        odd = next(item for item in items if type(item) is not type(items[0]) or type(item) not in (int, str))
        raise InputError(f"{path}: item indices must be whole numbers, got {quoted(odd)}; expected {_EXPECTED}")
    return pd.DataFrame(
        {
            columns.USER_ID: users,
            columns.ITEM_ID: pd.Series([str(item) for item in items], dtype=object),
            columns.SPLIT: name,
        }
    )
