"""The base class of layouts that describe only the log; their catalogue is a separate table or a set of .npy files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.readers.content import arrays_of, catalogue_of_rows, catalogue_of_table, check_arrays, count_items
from m3csr_tf.data.readers.layout import Layout, files_of, find_table
from m3csr_tf.data.tables import TableFiles

CATALOGUE = "catalogue"


class LogLayout(Layout):
    """A layout whose items come from a table named `catalogue` in the folder, if there is one.

    Modalities are then columns of that table, or .npy files whose rows are in its order. Without the table, every
    modality is a .npy file, whose row k belongs to item k of `listed_items`, or, if the layout lists no items, to the
    item with id k.

    Attributes:
      takes_table: whether the layout looks for such a table. Some layouts do not, because their item ids are the row
        numbers of the .npy files.
    """

    takes_table: ClassVar[bool] = True

    @abstractmethod
    def log_files(self) -> list[Path]:
        """Returns the files of the log, and those that list the items.

        Raises:
          InputError: a file is missing.
        """

    def listed_items(self) -> np.ndarray | None:
        """Returns the ids of the items that the layout itself lists, object [items], or None if it lists none."""
        return None

    def files(self) -> list[Path]:
        """See `Layout`. The headers of .npy files are checked, so that unsuitable files fail before any long work."""
        log = self.log_files()
        table = self.catalogue_table
        arrays = arrays_of(self.config, self.folder, table is not None)
        if table is not None:
            check_arrays(arrays, count_items(table) if arrays else None, f"{table.path.name} has")
            return [*log, *files_of(table.path), *arrays.values()]
        ids = self.listed_items()
        check_arrays(arrays, None if ids is None else len(ids), "the list of items has")
        return [*log, *arrays.values()]

    def catalogue(self, into: Path) -> Catalogue:
        """See `Layout`."""
        if self.catalogue_table is not None:
            return catalogue_of_table(self.config, self.folder, self.catalogue_table, into)
        return catalogue_of_rows(self.config, self.folder, into, self.listed_items())

    @cached_property
    def catalogue_table(self) -> TableFiles | None:
        """The table of the items, or None if there is none."""
        path = find_table(self.folder, CATALOGUE) if self.takes_table else None
        return None if path is None else TableFiles(path, names=self.names_of_catalogue(path))

    def names_of_catalogue(self, path: Path) -> Mapping[str, str]:
        """Returns the mapping from the package's column names to those of the catalogue at `path`."""
        return self.config.columns
