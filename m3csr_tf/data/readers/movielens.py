"""Layout "movielens": the files of ratings that GroupLens publishes, with content files added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.readers.log import TableLog, table_log
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.files import regular
from m3csr_tf.util.progress import ProgressCallback

_FIELDS = (columns.USER_ID, columns.ITEM_ID, "rating", columns.TIMESTAMP)
_NAMES_OF_CSV = {columns.USER_ID: "userId", columns.ITEM_ID: "movieId"}
_DIALECTS = {
    "u.data": Dialect("\t", found=False, names=_FIELDS, quoted=False),
    "ratings.dat": Dialect("::", found=False, names=_FIELDS, quoted=False),
    "ratings.csv": Dialect(","),
}
_ITEMS = {"u.data": ("u.item", "|"), "ratings.dat": ("movies.dat", "::"), "ratings.csv": ("movies.csv", None)}
"""Ratings file -> the file of films that goes with it, and the separator after the id in its lines (None for CSV)."""


class MovielensLayout(LogLayout):
    """Reads u.data (100k), ratings.dat (1m, 10m) or ratings.csv (20m and later). Every rating counts as a click."""

    in_blocks = True

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        ratings = self._ratings()
        films = self._films()
        return [ratings, *([films[0]] if films is not None and self.catalogue_table is None else [])]

    def listed_items(self) -> np.ndarray | None:
        """See `LogLayout`. The items are the films of u.item, movies.dat or movies.csv, in the order of the file.

        Raises:
          InputError: the file cannot be read, or it is missing although content is given as rows of .npy files.
        """
        films = self._films()
        if films is None:
            if not self.config.modalities:
                return None
            ratings = self._ratings()
            raise InputError(
                f"{self.folder / _ITEMS[ratings.name][0]}: no such file; the ids of {ratings.name} are no row numbers, "
                "and it says which row of the .npy files is whose; put it beside the ratings, or give a table catalogue"
            )
        path, end = films
        if end is None:
            table = TableFiles(path, names={columns.ITEM_ID: _NAMES_OF_CSV[columns.ITEM_ID]})
            return to_pandas(table.load([columns.ITEM_ID], [columns.ITEM_ID]))[columns.ITEM_ID].to_numpy(object)
        try:
            # The titles are encoded in Latin-1. Only the ids are used, and they are numbers.
            lines = regular(path).read_text(encoding="latin-1").split("\n")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        ids = [line.split(end, 1)[0] for line in lines if line.strip()]
        return np.array(ids, dtype=object)

    def log(self, on_progress: ProgressCallback | None = None) -> TableLog:
        """See `Layout`."""
        path = self._ratings()
        names = _NAMES_OF_CSV if path.name == "ratings.csv" else {}
        return table_log(self.config, path, [(Delimited(path, _DIALECTS[path.name]), {})], names)

    def names_of_catalogue(self, path: Path) -> Mapping[str, str]:
        """See `LogLayout`. Beside ratings.csv, the ids of the catalogue may be called movieId as they are there."""
        theirs = _NAMES_OF_CSV[columns.ITEM_ID]
        named = self._ratings().name == "ratings.csv" and theirs in TableFiles(path).names
        return ({columns.ITEM_ID: theirs} if named else {}) | self.config.columns

    def _ratings(self) -> Path:
        found = [path for name in _DIALECTS if (path := self.folder / name).is_file()]
        if len(found) != 1:
            which = f"both {found[0].name} and {found[1].name} are there" if found else "no file of ratings is there"
            raise InputError(f"{self.folder}: {which}; expected one of {', '.join(_DIALECTS)}")
        return found[0]

    def _films(self) -> tuple[Path, str | None] | None:
        name, end = _ITEMS[self._ratings().name]
        path = self.folder / name
        return (path, end) if path.is_file() else None
