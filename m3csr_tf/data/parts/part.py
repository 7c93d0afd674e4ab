"""The interface of every file of a table, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from m3csr_tf.data.parts.lines import OnShare
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted


class Part(ABC):
    """A file of a table. Every method raises `InputError` if the file cannot be read.

    Attributes:
      path: the path of the file.
      kind: the name of the file format in messages.
      knows_count: whether the file itself says how many rows it has, so that `count` does not read them.
    """

    path: Path
    kind: str
    knows_count: ClassVar[bool] = False

    @abstractmethod
    def names(self) -> list[str]:
        """Returns the names of the columns in the order of the file.

        Raises:
          InputError: the file cannot be read.
        """

    def reads_for_types(self, wanted: Collection[str], strings: Collection[str], thorough: bool = True) -> bool:
        """Returns whether `types`, with these arguments, reads the file from beginning to end."""
        return False

    @abstractmethod
    def types(
        self,
        wanted: Collection[str],
        strings: Collection[str],
        thorough: bool = True,
        on_share: OnShare | None = None,
    ) -> pa.Schema:
        """Returns a schema of those of the `wanted` columns that the file has, whose types fit all of their values.

        Columns of `strings` get the type of text. If not `thorough`, the types of a text file may be inferred from its
        beginning; `blocks` then refuses values that do not fit. `on_share` is called while the file is read.
        """

    @abstractmethod
    def count(self, on_share: OnShare | None = None) -> int:
        """Returns the number of rows; a text file is read from beginning to end for it, once, and calls `on_share`."""

    @abstractmethod
    def blocks(self, schema: pa.Schema, rows: int | None, on_share: OnShare | None = None) -> Iterator[pa.Table]:
        """Yields the rows in order with the columns of `schema`; a column that the file lacks is null.

        Args:
          schema: names and types of the columns.
          rows: the largest number of rows of a block; None if the whole table is to be held in memory.
          on_share: is called with the share of the file whose rows have been yielded and used.
        """


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Converts errors of Arrow and of the operating system into one error message about a file.

    Raises:
      InputError: the block raised such an error.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({first_line(error)})") from None


def refuse_twice(names: Sequence[str], path: Path) -> None:
    """Refuses a file in which two columns have the same name.

    Raises:
      InputError: there are two such columns; the message gives their name.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: column {quoted(twice)} is there twice; give each column its own name")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, without the traceback that Arrow adds."""
    return str(error).strip().split("\n")[0]


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns the table with the columns and types of `schema`; columns that it lacks are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def slices(table: pa.Table, rows: int | None) -> Iterator[pa.Table]:
    """Yields the table in slices of at most `rows` rows, or as a whole if `rows` is None."""
    if rows is None:
        yield table
        return
    for start in range(0, len(table), rows):
        yield table.slice(start, rows)
