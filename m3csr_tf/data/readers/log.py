"""Reads a log from a table, and expands cells that hold a list of items into one interaction for each item."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError

INTERACTION_COLUMNS = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
OPTIONAL = (columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
INTERACTION_STRINGS = (columns.USER_ID, columns.ITEM_ID, columns.SPLIT)
LEFT_OUT = "left_out_by_where"
WITHOUT_ITEMS = "rows_without_items"
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


class TableLog:
    """The interactions that a table holds.

    Args:
      table: the table, with at least the columns user_id and item_id.
      lists: whether a text cell of item_id holds several ids separated by spaces. Cells of a list type hold several ids
        in any case. Each id becomes a click of the row's user at the row's time.
    """

    def __init__(self, table: TableFiles, lists: bool = False) -> None:
        self.table = table
        self._lists = lists
        self._rows = 0
        self._without_items: int | None = None

    @property
    def source(self) -> str:
        """The name of the log in error messages that count rows; it says so if rows are counted after expansion."""
        has_lists = self._lists or self._without_items is not None
        return f"{self.table.source}, a click a row" if has_lists else self.table.source

    def count(self) -> int:
        """Returns the number of rows of the table, before conditions leave any out and before lists are expanded."""
        return self.table.count()

    def counts(self) -> dict[str, int]:
        """Counts the rows that conditions left out, and the lists without items, in what was read last.

        A count is present only if the log has conditions, or lists, at all.
        """
        counts = {}
        if self._without_items is not None:
            counts[WITHOUT_ITEMS] = self._without_items
        if self.table.is_filtered:
            counts[LEFT_OUT] = self.table.left_out
        return counts

    def load(self) -> pa.Table:
        """Reads the whole log into memory.

        Raises:
          InputError: a column is missing or misspelt, a cell is missing in a column of lists, or the table cannot be
            read (`TableFiles.load`).
        """
        self._begin()
        return self._taken_apart(self.table.load(INTERACTION_COLUMNS, INTERACTION_STRINGS))

    def blocks(self, rows: int) -> Iterator[pa.Table]:
        """Reads the same rows as `load`, in blocks of about `rows` rows of the table."""
        self._begin()
        for block in self.table.blocks(INTERACTION_COLUMNS, INTERACTION_STRINGS, rows):
            yield self._taken_apart(block)

    def _begin(self) -> None:
        self.table.require(columns.USER_ID, columns.ITEM_ID)
        self.table.refuse_respelt(*OPTIONAL)
        self._rows, self._without_items = 0, None

    def _taken_apart(self, block: pa.Table) -> pa.Table:
        before = self._rows
        self._rows += len(block)
        items = block[columns.ITEM_ID].combine_chunks()
        if self._lists and (pa.types.is_string(items.type) or pa.types.is_large_string(items.type)):
            # A blank text cell is an empty list: text has no other way to write one.
            trimmed = pc.utf8_trim_whitespace(pc.fill_null(items, ""))
            lists = pc.utf8_split_whitespace(trimmed)
            sizes = np.where(pc.equal(trimmed, ""), 0, pc.list_value_length(lists))
            items = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, lists.type), lists)
        elif any(is_kind(items.type) for is_kind in _LISTS):
            missing = np.asarray(pc.is_null(items))
            if missing.any():
                row = before + int(missing.argmax()) + 1
                raise InputError(
                    f"{self.table.source}: {columns.ITEM_ID} in data row {row} is nothing; expected a list of "
                    f"ids, [] where there are none ({missing.sum():,} such rows)"
                )
            sizes = np.asarray(pc.list_value_length(items))
        else:
            return block
        self._without_items = (self._without_items or 0) + int((sizes == 0).sum())
        rows = np.repeat(np.arange(len(block)), sizes)
        place = block.column_names.index(columns.ITEM_ID)
        return block.take(pa.array(rows)).set_column(place, columns.ITEM_ID, pc.list_flatten(items))
