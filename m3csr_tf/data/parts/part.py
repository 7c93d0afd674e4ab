"""What every file of a table gives, whatever its encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted


class Part(ABC):
    """A file of a table.

    Attributes:
      path: the file.
      kind: its encoding, as messages call it.
    """

    path: Path
    kind: str

    @abstractmethod
    def names(self) -> list[str]:
        """The columns in the order of the file.

        Raises:
          InputError: it cannot be read, as all methods do.
        """

    @abstractmethod
    def types(self, wanted: Collection[str], strings: Collection[str], thorough: bool = True) -> pa.Schema:
        """Types that hold all values of those of the `wanted` columns that it has; text where they are `strings`.

        Not `thorough`, text may be judged by its beginning; `blocks` then refuses what does not fit.
        """

    @abstractmethod
    def count(self) -> int:
        """How many rows it has; text is read for them."""

    @abstractmethod
    def blocks(self, schema: pa.Schema, rows: int | None) -> Iterator[pa.Table]:
        """Its rows in order as `schema` has them, null in columns that it lacks.

        Args:
          schema: names and types.
          rows: at most so many in a block; None where the whole table is to be in memory.
        """


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what Arrow and the system say of a file into one message.

    Raises:
      InputError: the block raises.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({first_line(error)})") from None


def refuse_twice(names: Sequence[str], path: Path) -> None:
    """Refuses a file in which two columns have one name.

    Raises:
      InputError: naming it.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: column {quoted(twice)} is there twice; give each column its own name")


def first_line(error: Exception) -> str:
    """What Arrow says of an error, without its traceback."""
    return str(error).strip().split("\n")[0]


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of `schema`, null where it has none."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def slices(table: pa.Table, rows: int | None) -> Iterator[pa.Table]:
    """Stretches of at most `rows` rows; the table itself without a bound."""
    if rows is None:
        yield table
        return
    for start in range(0, len(table), rows):
        yield table.slice(start, rows)
