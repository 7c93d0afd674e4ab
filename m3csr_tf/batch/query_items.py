"""The items whose neighbours a job looks for: ids of a release, or raw content, of a file or of the whole release."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from m3csr_tf import columns
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.batch.listed import check_listed
from m3csr_tf.batch.rows import batches_of_parts
from m3csr_tf.batch.sources import items_source
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.data.parts.kinds import ENDINGS, is_table
from m3csr_tf.data.vector_columns import sources
from m3csr_tf.errors import InputError
from m3csr_tf.releases.inbox import columns_of
from m3csr_tf.releases.release import Release
from m3csr_tf.util.files import sha256
from m3csr_tf.util.quoting import listed, quoted

_NEARLY = 0.75
"""How alike a column is to one of vectors, of 1, that it may have been meant for it."""


class QueryItemBatch(NamedTuple):
    """Some query items.

    Attributes:
      ids: object array of str [items].
      content: their raw content, where that is what is given; None where the release knows them.
    """

    ids: np.ndarray
    content: Catalogue | None


class QueryItems(Protocol):
    """Query items in a fixed order, of which any stretch can be read. Pickled, they can be sent to other processes."""

    @property
    def path(self) -> Path | None:
        """The file that they come from, if any."""
        ...

    def digest(self) -> str:
        """SHA-256 of what they are, hex."""
        ...

    def count(self) -> int:
        """How many they are."""
        ...

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, QueryItemBatch]]:
        """Batches as (part, items), in order; part k is items k * part_size to (k + 1) * part_size - 1."""
        ...


class _Ids:
    """Query items that are given by their ids alone."""

    _ids: np.ndarray

    def count(self) -> int:
        """See `QueryItems`."""
        return len(self._ids)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, QueryItemBatch]]:
        """See `QueryItems`."""
        for part, start, stop in batches_of_parts(parts, part_size, batch_size, self.count()):
            yield part, QueryItemBatch(self._ids[start:stop], None)


class FileOfIds(_Ids):
    """Ids in a file, each of which counts once; pickled, they are those of that file where they arrive.

    Args:
      path: .txt, one id a line, or a table with a column item_id (`data.id_files`).
    """

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self._file = path

    def __reduce__(self) -> tuple[type[FileOfIds], tuple[Path]]:
        return FileOfIds, (self._file.absolute(),)

    def digest(self) -> str:
        """See `QueryItems`: of the file, or of the ids of a folder of files."""
        if self._file.is_file():
            return sha256(self._file)
        return hashlib.sha256("\n".join(read_ids(self._file)).encode()).hexdigest()

    @cached_property
    def _ids(self) -> np.ndarray:  # type: ignore[override]
        return np.asarray(read_ids(self._file), dtype=object)


class ItemsOfRelease(_Ids):
    """All items of a release, those that came by refresh among them.

    Args:
      release: as of the position that matters.
    """

    path: Path | None = None

    def __init__(self, release: Release) -> None:
        self._release = release

    def __reduce__(self) -> tuple[type[ItemsOfRelease], tuple[Release]]:
        return ItemsOfRelease, (self._release,)

    def digest(self) -> str:
        """See `QueryItems`: of the release's fingerprint; its position is the job's."""
        return hashlib.sha256(self._release.manifest["fingerprint"].encode()).hexdigest()

    @cached_property
    def _ids(self) -> np.ndarray:  # type: ignore[override]
        return self._release.items_alone().ids


class FileOfContent:
    """Videos with their raw content in a file, known to the release or not.

    Args:
      path, vector_columns, widths: see `FileOfItems`.
    """

    def __init__(self, path: Path, vector_columns: Mapping[str, str], widths: Mapping[str, int]) -> None:
        self.path: Path | None = path
        self._items = FileOfItems(path, vector_columns, widths)

    def digest(self) -> str:
        """See `QueryItems`."""
        return self._items.digest()

    def count(self) -> int:
        """See `QueryItems`."""
        return self._items.count()

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, QueryItemBatch]]:
        """See `QueryItems`."""
        for part, items in self._items.read(parts, part_size, batch_size):
            yield part, QueryItemBatch(items.frame[columns.ITEM_ID].to_numpy(dtype=object), items)


def file_of_queries(path: Path, release: Release) -> FileOfIds | FileOfContent:
    """The query items of a file: raw content where it has a column of vectors, else ids, of which one must be known.

    Raises:
      InputError: it is missing, of another kind, cannot be read, has no column item_id, a column may be misspelt, or no
        id of it is known to the release.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; similar.items must name the items to find similar ones to")
    if path.is_file() and path.suffix.lower() != ".txt" and not is_table(path):
        raise InputError(
            f"{path}: unknown kind of file; similar.items takes ids as .txt or as a table, or a catalogue with content "
            f"as a table ({', '.join(ENDINGS)})"
        )
    if path.suffix.lower() != ".txt":
        vector_columns = columns_of(release)
        names = list(dict.fromkeys(_names(path, list(vector_columns.values()))))
        if any(sources(column, names, path) for column in vector_columns.values()):
            return FileOfContent(path, vector_columns, release.modalities)
        _refuse_nearly(path, names, list(vector_columns.values()))
    ids = read_ids(path)
    check_listed(path, ids, release, "similar.items")
    return FileOfIds(path)


def _names(path: Path, vector_columns: list[str]) -> Iterator[str]:
    for of_file in items_source(path, vector_columns).names().values():
        yield from of_file


def _refuse_nearly(path: Path, names: list[str], vector_columns: list[str]) -> None:
    for name in names:
        near = difflib.get_close_matches(name.lower(), vector_columns, n=1, cutoff=_NEARLY)
        if near:
            raise InputError(
                f"{path}: column {quoted(name)} is unknown; is it {near[0]}? Rename it, or drop it (columns of "
                f"vectors: {listed(vector_columns)})"
            )
