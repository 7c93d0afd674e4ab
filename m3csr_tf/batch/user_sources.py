"""Opens files of users: it checks their columns, parses lists in text, and can add histories from the log of a run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch.checks import checked_ids
from m3csr_tf.batch.json_lines import JSON_LINES, UserJsonLines
from m3csr_tf.batch.sources import Chunk, Parquet, RowSource, Table, is_parquet, overlap, require_id
from m3csr_tf.batch.user_histories import PastOf, UserHistories
from m3csr_tf.data.part_files import require_file
from m3csr_tf.data.parts.lines import plain_suffix
from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.quoting import quoted

COLUMNS = (columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS)
"""The columns of a users file."""
PASTS_AT_ONCE = 20_000
"""Number of users whose histories and clicks are read from the log at once."""
_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")
_NOTHING = frozenset({"", "null", "none", "nan", "<na>"})
_LIKE = 0.55
"""Similarity of two names, up to 1, from which a message suggests that one was meant by the other."""


def users_source(path: Path) -> RowSource:
    """Opens the file of users at `path` by its ending.

    Raises:
      InputError: the file is missing, of an unknown type, cannot be read, lacks the column user_id, or has a column
        that a users file may not have; or only some files of a folder have a column of lists.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; retrieve.users must name the users to make lists for")
    require_file(path)
    source = _source(path)
    names = source.names()
    for file, columns_of_file in names.items():
        _check_names(columns_of_file, file)
    for column in (columns.HISTORY, columns.EXCLUSIONS):
        lacking = [file for file, columns_of_file in names.items() if column not in columns_of_file]
        if 0 < len(lacking) < len(names):
            raise InputError(f"{lacking[0]}: column {column} is missing, which other files of {path} have")
    return source


def _check_names(names: list[str], file: Path) -> None:
    require_id(columns.USER_ID, names, file)
    for name in names:
        if name not in COLUMNS and not _INDEX_OF_PANDAS.fullmatch(name):
            like = difflib.get_close_matches(name.lower(), COLUMNS, 1, _LIKE)
            meant = f"did you mean {like[0]}?" if like else "leave it out"
            raise InputError(
                f"{file}: column {quoted(name)} is none of a users file, which may have {', '.join(COLUMNS)}; {meant}"
            )


def _source(path: Path) -> RowSource:
    if is_parquet(path):
        return Parquet(path, columns.USER_ID)
    if not path.is_dir() and plain_suffix(path) in JSON_LINES:
        return UserJsonLines(path)
    return _TableOfUsers(path, columns.USER_ID, COLUMNS)


class WithPast:
    """A file of users without histories, complemented with the histories that the log of a run knows.

    All items that a user clicked are left out of her list, in addition to the exclusions in the file.

    Args:
      source: the file.
      past: the histories and clicks of the users of the log; other users have none.
      path: the name of the file in error messages.
    """

    def __init__(self, source: RowSource, past: UserHistories, path: Path) -> None:
        self._source = source
        self._past = past
        self._path = path

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`."""
        return {file: list(COLUMNS) for file in self.files()}

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return self._source.files()

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; histories and clicks are read for many users at a time."""
        if columns.HISTORY not in names:
            yield from self._source.chunks(names, wanted, size)
            return
        for chunk in self._source.chunks(names, wanted, max(size, PASTS_AT_ONCE)):
            if wanted is None or overlap(range(chunk.start, chunk.start + chunk.length), wanted):
                known = _Known(chunk, self._past, self._path)
                yield Chunk(chunk.start, chunk.length, known.frame, known.entries)


class _Known:
    """A chunk of a file with the histories and clicks of its users, which are read when they are first needed."""

    def __init__(self, chunk: Chunk, past: UserHistories, path: Path) -> None:
        self._chunk = chunk
        self._past = past
        self._path = path

    @cached_property
    def _of(self) -> PastOf:
        chunk = self._chunk
        users = chunk.frame(0, chunk.length)[columns.USER_ID].to_numpy(dtype=object)
        rows = chunk.start + 1 + np.arange(chunk.length)
        return self._past.of_ids(checked_ids(users, rows, columns.USER_ID, str(self._path)))

    def entries(self) -> np.ndarray:
        return self._of.entries + self._chunk.entries()

    def frame(self, first: int, last: int) -> pd.DataFrame:
        frame = self._chunk.frame(first, last)
        history, clicks = self._past.lists(self._of.of(slice(first, last)))
        given = frame[columns.EXCLUSIONS] if columns.EXCLUSIONS in frame else [None] * len(frame)
        both = [_joined(cell, theirs) for cell, theirs in zip(given, clicks, strict=True)]
        return pd.DataFrame(
            {
                columns.USER_ID: frame[columns.USER_ID].to_numpy(dtype=object),
                columns.HISTORY: history,
                columns.EXCLUSIONS: pd.Series(both, dtype=object),
            }
        )


def _joined(cell: Any, clicks: np.ndarray) -> Any:
    """Adds a user's clicks to a cell of exclusions; a cell that is not a list is left for a later check to refuse."""
    if isinstance(cell, list | tuple | np.ndarray):
        return [*cell, *clicks]
    return clicks if pd.isna(cell) else cell


class _TableOfUsers(Table):
    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        for chunk in super().chunks(names, wanted, size):
            yield chunk._replace(frame=_with_lists(chunk.frame))


def _with_lists(frame: Callable[[int, int], pd.DataFrame]) -> Callable[[int, int], pd.DataFrame]:
    def split(first: int, last: int) -> pd.DataFrame:
        texts = frame(first, last)
        for name in set(texts.columns) - {columns.USER_ID}:
            texts[name] = pd.Series([_list(one) if isinstance(one, str) else one for one in texts[name]], dtype=object)
        return texts

    return split


def _list(text: str) -> Any:
    """Parses the list in a cell of text, which is JSON or ids separated by spaces; anything else is refused by its ids.

    Words that programs write for a missing value ("null", "nan") mean no list; an item of that name must be written in
    a JSON list.
    """
    if text.strip().lower() in _NOTHING:
        return None
    if text.lstrip().startswith("["):
        try:
            return parse_json(text)
        except ValueError:
            pass
    return text.split()
