"""Reads tables from disk: one file, or a folder of part files, in any file format that `parts` knows.

Folders named `key=value`, as Hive and Spark write them, become columns of the part files inside. Columns may have other
names in the files than in the package (`data.columns`), and conditions may leave rows out (`data.where`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.data.conditions import Condition, Value
from m3csr_tf.data.lacking import nearest, plainly, same_but_for_spelling, what_is_there
from m3csr_tf.data.part_files import part_files
from m3csr_tf.data.parts.amount_read import AmountRead, unit_of
from m3csr_tf.data.parts.delimited import WORDS, Delimited
from m3csr_tf.data.parts.keyed import Keyed, keys_of, with_keys
from m3csr_tf.data.parts.kinds import open_part
from m3csr_tf.data.parts.part import Part
from m3csr_tf.data.parts.schema import common_schema
from m3csr_tf.data.vector_columns import as_lists, sources
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)


def load_table(path: Path, wanted: list[str], strings: list[str]) -> pa.Table:
    """Reads those of the `wanted` columns that a table has, as `TableFiles.load` does."""
    return TableFiles(path).load(wanted, strings)


def column_names(path: Path) -> list[str]:
    """Returns the names of all columns that any part of a table has.

    Raises:
      InputError: a part cannot be read.
    """
    return TableFiles(path).names


class TableFiles:
    """A table on disk, in one file or in several part files.

    Args:
      path: a file, or a folder of part files.
      parts: the part files, for layouts that find them by rules of their own.
      names: name of a column in the package -> its name in the files.
      where: conditions on columns, which go by the names in the files.

    Attributes:
      path: the path as given.
      left_out: number of rows that the conditions left out of what was read last.
    """

    def __init__(
        self,
        path: Path,
        parts: Sequence[Keyed] | None = None,
        names: Mapping[str, str] | None = None,
        where: Mapping[str, Value] | None = None,
    ) -> None:
        self.path = path
        self.left_out = 0
        self._given = parts
        self._renamed = dict(names or {})
        self._where = dict(where or {})

    @property
    def source(self) -> str:
        """The name of the table in error messages that count rows."""
        return f"{self.path} (the rows that data.where keeps)" if self._where else str(self.path)

    @property
    def is_filtered(self) -> bool:
        """Whether there are conditions on the rows."""
        return bool(self._where)

    @cached_property
    def names(self) -> list[str]:
        """Names of all columns that any part has, as the files call them.

        Raises:
          InputError: a part cannot be read.
        """
        found: dict[str, None] = {}
        for part, keys in self._parts:
            found |= dict.fromkeys([*part.names(), *keys])
        return list(found)

    @property
    def unit(self) -> str:
        """What the progress of a reading is counted in: "rows", or the "bytes" of files that do not say how many.

        Raises:
          InputError: there are no part files, or a part has an unknown ending.
        """
        return unit_of(part for part, _ in self._parts)

    def count(self, on_progress: ProgressCallback | None = None) -> int:
        """Returns the number of rows of all parts, before conditions leave any out.

        Args:
          on_progress: progress callback, in `unit`; text files are read for it, the first time.

        Raises:
          InputError: a part cannot be read.
        """
        amount = self._amount(on_progress)
        amount.expect(part for part, _ in self._parts)
        count = sum(part.count(amount.of(part)) for part, _ in self._parts)
        amount.finish()
        return count

    def require(self, *wanted: str) -> None:
        """Refuses a table that lacks one of the `wanted` columns, in all of its parts or in some.

        Raises:
          InputError: a column is missing; the message lists the columns there are, the most similar one, and the
            setting that maps it.
        """
        for name in wanted:
            if not self._sources(name):
                alone = ". It has one column, so its fields may be parted by something else than commas, tabs, "
                raise InputError(
                    f"{self.path}: column {name} is missing; {what_is_there(self.names, name)}; say which one it "
                    f"is, e.g. data.columns={{{name}: {_in_yaml(nearest(self.names, name) or 'NAME')}}}"
                    + (f"{alone}semicolons or pipes" if len(self.names) == 1 else "")
                )
            for part, keys in self._parts:
                self._require_of_part(name, part, keys)

    def _require_of_part(self, name: str, part: Part, keys: Mapping[str, str | None]) -> None:
        there = [*part.names(), *keys]
        is_text = isinstance(part, Delimited)
        # A text file without rows is not let off: the line that was taken for its column names may be a row.
        if all(found in there for found in self._sources(name)) or not (is_text or part.count()):
            return
        raise InputError(
            f"{part.path}: column {name} is missing, which other parts of {self.path} have; "
            f"{what_is_there(there, name)}; "
            + ("give the file a line of names like that of the others" if is_text else "write it as the others are")
        )

    def column_of(self, name: str) -> str | None:
        """Returns what the files call a plain column, or None if they lack it."""
        found = self._sources(name)
        return found[0] if found else None

    def unread(self, plain: Collection[str]) -> list[str]:
        """Returns the columns that neither `names` nor `where` read and whose names are in `plain`.

        Args:
          plain: names without case, blanks and punctuation.
        """
        read = {*self._renamed.values(), *self._where}
        return [name for name in self.names if name not in read and plainly(name) in plain]

    def refuse_respelt(self, *wanted: str) -> None:
        """Refuses a table that lacks an optional column but has one that differs from it in case or spelling only.

        Columns that a condition names are left alone, since they are used under their own name.

        Raises:
          InputError: there is such a column; the message names both, and the setting that maps it.
        """
        for name in wanted:
            other = None if self._sources(name) else same_but_for_spelling(self.names, name)
            if other is not None and other not in self._where:
                raise InputError(
                    f"{self.path}: column {quoted(other)} would be ignored; if it is {name}, set "
                    f"data.columns={{{name}: {_in_yaml(other)}}}, otherwise give it a name less like it"
                )

    def load(
        self, wanted: Sequence[str], strings: Collection[str], on_progress: ProgressCallback | None = None
    ) -> pa.Table:
        """Reads those of the `wanted` columns that the table has, in that order.

        Args:
          wanted: names of columns; a column of vectors may take any form of `vector_columns`.
          strings: names of the columns that are read as text from text files, whatever their cells look like.
          on_progress: progress callback, in `unit`. The total grows if text files have to be read again.

        Raises:
          InputError: a part cannot be read, two parts have incompatible columns, or a setting names a column that is
            not there.
        """
        amount = self._amount(on_progress)
        try:
            return pa.concat_tables(self._blocks(wanted, strings, None, amount, thorough=False))
        except InputError:  # The type of a text column, guessed from its first rows, may not fit later ones.
            return pa.concat_tables(self._blocks(wanted, strings, None, amount))

    def blocks(
        self,
        wanted: Sequence[str],
        strings: Collection[str],
        rows: int,
        on_progress: ProgressCallback | None = None,
    ) -> Iterator[pa.Table]:
        """Yields the table of `load` in blocks of at most `rows` rows; an empty table yields a single empty block.

        What has been yielded counts as read once the next block is asked for.

        Raises:
          InputError: for the same reasons as in `load`.
        """
        return self._blocks(wanted, strings, rows, self._amount(on_progress))

    def _amount(self, on_progress: ProgressCallback | None) -> AmountRead:
        return AmountRead([part for part, _ in self._parts], on_progress)

    def _blocks(
        self,
        wanted: Sequence[str],
        strings: Collection[str],
        rows: int | None,
        amount: AmountRead,
        thorough: bool = True,
    ) -> Iterator[pa.Table]:
        self.left_out = 0
        conditions = self._conditions()
        from_files = {name: found for name in wanted if (found := self._sources(name))}
        read = [*(file for found in from_files.values() for file in found), *(one.column for one in conditions)]
        as_text = {found[0] for name, found in from_files.items() if name in strings and self._is_plain(name, found)}
        plain = {file for found in from_files.values() for file in found}
        as_text |= {one.column for one in conditions if one.is_of_digits and one.column not in plain}
        parts = [part for part, _ in self._parts]
        amount.expect([*(part for part in parts if part.reads_for_types(read, as_text, thorough)), *parts])
        schema = common_schema(self._parts, dict.fromkeys(read), as_text, thorough, amount.of)
        if self._unusual is not None:
            logger.warning(self._unusual)
            self._unusual = None
        before, some = 0, False
        for part, keys in self._parts:
            in_file = pa.schema([field for field in schema if field.name in part.names() or field.name not in keys])
            for block in part.blocks(in_file, rows, amount.of(part)):
                if not len(block):
                    continue
                whole = with_keys(block, keys, schema)
                kept = self._kept(whole, conditions)
                if len(kept) or rows is not None:
                    some = True
                    yield self._made(kept, from_files, before)
                before += len(kept)
        amount.finish()
        if not some:
            yield self._made(schema.empty_table(), from_files, 0)

    def _made(self, block: pa.Table, from_files: Mapping[str, list[str]], before: int) -> pa.Table:
        made = {}
        for name, found in from_files.items():
            if self._is_plain(name, found) and not pa.types.is_struct(block.schema.field(found[0]).type):
                made[name] = block[found[0]]
            else:
                made[name] = as_lists(name, found, block, self.path, before)
        return pa.table(made) if made else block.select([])

    def _is_plain(self, name: str, found: list[str]) -> bool:
        """Returns whether a column is taken from the files unchanged, perhaps under another name."""
        return found in ([name], [self._renamed.get(name)])

    def _kept(self, block: pa.Table, conditions: list[Condition]) -> pa.Table:
        if not conditions:
            return block
        mask = conditions[0].holds(block[conditions[0].column])
        for condition in conditions[1:]:
            mask = pc.and_(mask, condition.holds(block[condition.column]))
        kept = block.filter(mask)
        self.left_out += len(block) - len(kept)
        return kept

    def _conditions(self) -> list[Condition]:
        for column in self._where:
            if column not in self.names:
                mapped = self._renamed.get(column)
                hint = what_is_there(self.names, column)
                if mapped is not None:
                    hint = f"data.where goes by the names of the file, where {column} is {quoted(mapped)}"
                raise InputError(f"{self.path}: data.where names column {quoted(column)}, which is not there; {hint}")
        return [Condition(column, value, self.path) for column, value in self._where.items()]

    def _sources(self, name: str) -> list[str]:
        """Returns the columns of the files from which a column is made; there are none if the files lack it."""
        renamed = self._renamed.get(name)
        if renamed is None:
            return sources(name, self.names, self.path)
        if renamed in self.names:
            return [renamed]
        # One setting maps this name for interactions and catalogue, and one of the two may use the plain name.
        if name == columns.ITEM_ID and name in self.names:
            return [name]
        raise InputError(
            f"{self.path}: data.columns says that {name} is column {quoted(renamed)}, which is not there; "
            f"{what_is_there(self.names, renamed, name)}"
        )

    @cached_property
    def _parts(self) -> list[Keyed]:
        if self._given is not None:
            return list(self._given)
        if self.path.is_dir():
            return [(open_part(file, self.path), keys_of(file, self.path)) for file in part_files(self.path)]
        return [(open_part(self.path, self.path), {})]

    @cached_property
    def _unusual(self) -> str | None:
        """The message, logged once, that a part's delimiter is not the one that its file ending suggests."""
        for part, _ in self._parts:
            if isinstance(part, Delimited) and part.dialect.found and part.delimiter != part.dialect.usual:
                return f"{part.path}: its fields are parted by {WORDS[part.delimiter]}"
        return None


def _in_yaml(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame; whole numbers with missing ones stay whole, as objects, and dates become timestamps."""
    return table.to_pandas(integer_object_nulls=True, date_as_object=False)
