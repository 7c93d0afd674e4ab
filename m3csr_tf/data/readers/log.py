"""A log that is a table: the columns of interactions, and clicks that lie in one cell taken apart."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.data.tables import Table

INTERACTION_COLUMNS = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
OPTIONAL = (columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
INTERACTION_STRINGS = (columns.USER_ID, columns.ITEM_ID, columns.SPLIT)
LEFT_OUT = "left_out_by_where"


class TableLog:
    """The interactions of a table.

    Args:
      table: with columns user_id and item_id at least.
      lists: whether a cell of item_id that is text holds several ids with spaces between them. Cells that are lists
        do anyway. Each id is a click of the row's user at the row's time.
    """

    def __init__(self, table: Table, lists: bool = False) -> None:
        self.table = table
        self._lists = lists

    @property
    def source(self) -> str:
        """How messages that count rows call it."""
        return f"{self.table.source}, a click a row" if self._lists else self.table.source

    def count(self) -> int:
        """Rows of the table, before any is left out."""
        return self.table.count()

    def counts(self) -> dict[str, int]:
        """How many rows the conditions left out of what was read last, if there are conditions."""
        if not self.table.is_filtered:
            return {}
        return {LEFT_OUT: self.table.left_out}

    def load(self) -> pa.Table:
        """All of it.

        Raises:
          InputError: a column is missing or respelt, or as `Table.load`.
        """
        self.table.require(columns.USER_ID, columns.ITEM_ID)
        self.table.refuse_respelt(*OPTIONAL)
        return self._taken_apart(self.table.load(INTERACTION_COLUMNS, INTERACTION_STRINGS))

    def blocks(self, rows: int) -> Iterator[pa.Table]:
        """As `load`, in blocks of about `rows` rows."""
        self.table.require(columns.USER_ID, columns.ITEM_ID)
        self.table.refuse_respelt(*OPTIONAL)
        for block in self.table.blocks(INTERACTION_COLUMNS, INTERACTION_STRINGS, rows):
            yield self._taken_apart(block)

    def _taken_apart(self, block: pa.Table) -> pa.Table:
        items = block[columns.ITEM_ID].combine_chunks()
        if self._lists and (pa.types.is_string(items.type) or pa.types.is_large_string(items.type)):
            trimmed = pc.utf8_trim_whitespace(items)
            items = pc.utf8_split_whitespace(pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, items.type), trimmed))
        if not (pa.types.is_list(items.type) or pa.types.is_large_list(items.type)):
            return block
        rows = pc.list_parent_indices(items)
        place = block.column_names.index(columns.ITEM_ID)
        clicks = pc.list_flatten(items)
        return block.take(rows).set_column(place, columns.ITEM_ID, clicks)
