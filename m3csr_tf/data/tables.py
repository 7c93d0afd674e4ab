"""Tables as they are on the disk: one file or a folder of part files, of any encoding of `parts`.

Folders named `key=value`, as Hive and Spark write them, are columns of the parts inside. Columns may have other names
in the files than here (`data.columns`), and conditions may leave rows out (`data.where`).
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
from m3csr_tf.data.lacking import nearest, same_but_for_spelling, what_is_there
from m3csr_tf.data.parts.delimited import WORDS, Delimited
from m3csr_tf.data.parts.keyed import Keyed, keys_of, with_keys
from m3csr_tf.data.parts.kinds import open_part
from m3csr_tf.data.parts.part import Part
from m3csr_tf.data.parts.schema import common_schema
from m3csr_tf.data.vector_columns import as_lists, sources
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)


def part_files(folder: Path) -> list[Path]:
    """Part files of a table, as Spark writes them: names that start with _ or . are no data, nor is what is inside.

    Raises:
      InputError: there are none.
    """
    require_file(folder)
    parts = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)]
    if not parts:
        raise InputError(f"{folder}: the folder holds no part files")
    return sorted(parts)


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether the file, or a folder on the way to it, is no data; a folder's name may be that of a column `_key`."""
    *folders, name = path.relative_to(folder).parts
    return name[0] in "_." or any(one[0] in "_." and "=" not in one for one in folders)


def require_file(path: Path) -> None:
    """Refuses what is neither a file nor a folder: reading a pipe or a device may never end.

    Raises:
      InputError: naming it.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is no file, but a pipe or a device; expected a file, or a folder of part files")


def load_table(path: Path, wanted: list[str], strings: list[str]) -> pa.Table:
    """Those of the `wanted` columns that a table has, as `TableFiles.load`."""
    return TableFiles(path).load(wanted, strings)


def column_names(path: Path) -> list[str]:
    """Names of the columns that any part of a table has.

    Raises:
      InputError: it cannot be read.
    """
    return TableFiles(path).names


class TableFiles:
    """A table on the disk.

    Args:
      path: a file, or a folder of part files.
      parts: its files, where a layout has rules of its own for them.
      names: what columns are called here -> what the files call them.
      where: conditions on columns, by the names of the files.

    Attributes:
      path: as given.
      left_out: rows that the conditions left out of what was read last.
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
        """How messages that count rows call it."""
        return f"{self.path} (the rows that data.where keeps)" if self._where else str(self.path)

    @property
    def is_filtered(self) -> bool:
        """Whether there are conditions on its rows."""
        return bool(self._where)

    @cached_property
    def names(self) -> list[str]:
        """The columns that any part has, as the files call them.

        Raises:
          InputError: a part cannot be read.
        """
        found: dict[str, None] = {}
        for part, keys in self._parts:
            found |= dict.fromkeys([*part.names(), *keys])
        return list(found)

    def count(self) -> int:
        """Rows of all parts, before any is left out.

        Raises:
          InputError: a part cannot be read.
        """
        return sum(part.count() for part, _ in self._parts)

    def require(self, *wanted: str) -> None:
        """Refuses a table that lacks a column, or one of whose parts does.

        Raises:
          InputError: naming the columns that it has, the nearest one, and the setting that maps it.
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
        # What stands for the names of a text without rows may be a row.
        if all(found in there for found in self._sources(name)) or not (is_text or part.count()):
            return
        raise InputError(
            f"{part.path}: column {name} is missing, which other parts of {self.path} have; "
            f"{what_is_there(there, name)}; "
            + ("give the file a line of names like that of the others" if is_text else "write it as the others are")
        )

    def refuse_respelt(self, *wanted: str) -> None:
        """Refuses a table that lacks a column, which it need not have, but has it in another case or spelling.

        Columns that a condition asks for are what they are.

        Raises:
          InputError: naming both, and the setting that maps it.
        """
        for name in wanted:
            other = None if self._sources(name) else same_but_for_spelling(self.names, name)
            if other is not None and other not in self._where:
                raise InputError(
                    f"{self.path}: column {quoted(other)} would be ignored; if it is {name}, set "
                    f"data.columns={{{name}: {_in_yaml(other)}}}, otherwise give it a name less like it"
                )

    def load(self, wanted: Sequence[str], strings: Collection[str]) -> pa.Table:
        """Those of the `wanted` columns that the table has, in that order.

        Args:
          wanted: names of columns; of vectors, in any form of `vector_columns`.
          strings: columns that text files hold as text, whatever they look like.

        Raises:
          InputError: a part cannot be read, two parts do not fit together, or a setting names a column that is not
            there.
        """
        try:
            return pa.concat_tables(self._blocks(wanted, strings, None, thorough=False))
        except InputError:  # Perhaps a column of text looks different further down.
            return pa.concat_tables(self._blocks(wanted, strings, None))

    def blocks(self, wanted: Sequence[str], strings: Collection[str], rows: int) -> Iterator[pa.Table]:
        """The table of `load` in blocks of at most `rows` rows, in order; an empty one has a single empty block.

        Raises:
          InputError: as `load`.
        """
        return self._blocks(wanted, strings, rows)

    def _blocks(
        self, wanted: Sequence[str], strings: Collection[str], rows: int | None, thorough: bool = True
    ) -> Iterator[pa.Table]:
        self.left_out = 0
        conditions = self._conditions()
        from_files = {name: found for name in wanted if (found := self._sources(name))}
        read = [*(file for found in from_files.values() for file in found), *(one.column for one in conditions)]
        as_text = {found[0] for name, found in from_files.items() if name in strings and self._is_plain(name, found)}
        plain = {file for found in from_files.values() for file in found}
        as_text |= {one.column for one in conditions if one.is_of_digits and one.column not in plain}
        schema = common_schema(self._parts, dict.fromkeys(read), as_text, thorough)
        if self._unusual is not None:
            logger.warning(self._unusual)
            self._unusual = None
        before, some = 0, False
        for part, keys in self._parts:
            in_file = pa.schema([field for field in schema if field.name in part.names() or field.name not in keys])
            for block in part.blocks(in_file, rows):
                if not len(block):
                    continue
                whole = with_keys(block, keys, schema)
                kept = self._kept(whole, conditions)
                if len(kept) or rows is not None:
                    some = True
                    yield self._made(kept, from_files, before)
                before += len(kept)
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
        """Whether a column is one of the files as it is, under whatever name."""
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
        """The columns of the files that a column is made of; none where they lack it."""
        renamed = self._renamed.get(name)
        if renamed is None:
            return sources(name, self.names, self.path)
        if renamed in self.names:
            return [renamed]
        # Interactions and catalogue share this name's setting, and one of them may have the plain name.
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
        """What is to be said, once, of a delimiter that the ending of a part does not tell."""
        for part, _ in self._parts:
            if isinstance(part, Delimited) and part.dialect.found and part.delimiter != part.dialect.usual:
                return f"{part.path}: its fields are parted by {WORDS[part.delimiter]}"
        return None


def _in_yaml(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame; whole numbers with missing ones stay whole, as objects, and dates become timestamps."""
    return table.to_pandas(integer_object_nulls=True, date_as_object=False)
