"""Layout "recbole": RecBole's atomic files, tab-separated, with the type in each column's name: user_id:token."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.parts.keyed import Keyed
from m3csr_tf.data.readers.layout import find_table
from m3csr_tf.data.readers.log import TableLog, table_log
from m3csr_tf.data.readers.log_layout import CATALOGUE, LogLayout
from m3csr_tf.data.readers.mmrec import inter_file
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback

_DIALECT = Dialect("\t", found=False, quoted=False, typed=True)
_SPLITS = {columns.TRAIN: "train", columns.VAL: "valid", columns.TEST: "test"}


class RecboleLayout(LogLayout):
    """Reads one .inter file, or three (.train.inter, .valid.inter, .test.inter), and a .item file if there is one."""

    in_blocks = True

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return [part.path for part, _ in self._parts]

    def log(self, on_progress: ProgressCallback | None = None) -> TableLog:
        """See `Layout`."""
        path = self._parts[0][0].path if len(self._parts) == 1 else self.folder
        return table_log(self.config, path, self._parts)

    @cached_property
    def catalogue_table(self) -> TableFiles | None:
        """A table named `catalogue` or, if there is none, the .item file; None if both are missing."""
        path = find_table(self.folder, CATALOGUE)
        if path is not None:
            return TableFiles(path, names=self.config.columns)
        if self._item_file is None:
            return None
        return TableFiles(self._item_file, [(Delimited(self._item_file, _DIALECT), {})], self.config.columns)

    @cached_property
    def _item_file(self) -> Path | None:
        found = sorted(self.folder.glob("*.item"))
        if len(found) > 1:
            raise InputError(f"{self.folder}: {len(found)} .item files are there; keep one")
        return found[0] if found else None

    @cached_property
    def _parts(self) -> list[Keyed]:
        if self.config.inter_file is None:
            found = {split: sorted(self.folder.glob(f"*.{name}.inter")) for split, name in _SPLITS.items()}
            if all(len(paths) == 1 for paths in found.values()):
                return [(Delimited(found[split][0], _DIALECT), {columns.SPLIT: split}) for split in columns.SPLITS]
        return [(Delimited(inter_file(self), _DIALECT), {})]
