"""Layout "movielens": ratings as GroupLens publishes them, and content beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m3csr_tf import columns
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.readers.beside import CatalogueBeside
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.data.tables import Table
from m3csr_tf.errors import InputError
from m3csr_tf.util.files import regular

_FIELDS = (columns.USER_ID, columns.ITEM_ID, "rating", columns.TIMESTAMP)
_NAMES_OF_CSV = {columns.USER_ID: "userId", columns.ITEM_ID: "movieId"}
_DIALECTS = {
    "u.data": Dialect("\t", found=False, names=_FIELDS, quoted=False),
    "ratings.dat": Dialect("::", found=False, names=_FIELDS, quoted=False),
    "ratings.csv": Dialect(","),
}
_ITEMS = {"u.data": ("u.item", "|"), "ratings.dat": ("movies.dat", "::")}
"""The file of the films beside each file of ratings, and what ends the id that every line of it begins with."""


class MovielensLayout(CatalogueBeside):
    """u.data (100k), ratings.dat (1m, 10m) or ratings.csv (20m and later); every rating is a click."""

    in_blocks = True

    def log_files(self) -> list[Path]:
        """See `CatalogueBeside`."""
        ratings = self._ratings()
        films = self._films()
        return [ratings, *([films[0]] if films is not None and self.catalogue_table is None else [])]

    def listed_items(self) -> np.ndarray | None:
        """See `CatalogueBeside`: the films of u.item or movies.dat in their order."""
        films = self._films()
        if films is None:
            return None
        path, end = films
        try:
            # Titles are Latin-1, and ids are numbers.
            lines = regular(path).read_text(encoding="latin-1").splitlines()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        ids = [line.split(end, 1)[0] for line in lines if line.strip()]
        return np.array(ids, dtype=object)

    def log(self) -> TableLog:
        """See `Layout`."""
        path = self._ratings()
        names = (_NAMES_OF_CSV if path.name == "ratings.csv" else {}) | self.config.columns
        part = Delimited(path, _DIALECTS[path.name])
        return TableLog(Table(path, [(part, {})], names, self.config.where), self.config.item_lists)

    def _ratings(self) -> Path:
        found = [path for name in _DIALECTS if (path := self.folder / name).is_file()]
        if len(found) != 1:
            which = f"both {found[0].name} and {found[1].name} are there" if found else "no file of ratings is there"
            raise InputError(f"{self.folder}: {which}; expected one of {', '.join(_DIALECTS)}")
        return found[0]

    def _films(self) -> tuple[Path, str] | None:
        name, end = _ITEMS.get(self._ratings().name, ("", ""))
        path = self.folder / name
        return (path, end) if name and path.is_file() else None
