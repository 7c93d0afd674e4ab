"""Reads a log from a table, and expands cells that hold a list of items into one interaction for each item."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.config.events import EventsConfig
from m3csr_tf.data.events import EventReader
from m3csr_tf.data.lacking import what_is_there
from m3csr_tf.data.parts.keyed import Keyed
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback, say
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)

INTERACTION_COLUMNS = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
OPTIONAL = (columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
INTERACTION_STRINGS = (columns.USER_ID, columns.ITEM_ID, columns.SPLIT)
SIGNALS = frozenset(
    {"isclick", "click", "clicked", "islike", "like", "liked", "isfollow", "isshare", "event", "eventtype", "action"}
    | {"actiontype", "behavior", "behaviour", "behaviortype", "feedback", "playtime", "watchtime", "watchseconds"}
    | {"playduration", "watchratio", "watchshare"}
)
"""What logs call columns that say whether, or how much, somebody liked what she was shown; without case and `_`."""
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
      events: what the rows weigh, and which of them count; the table calls that column `columns.EVENT`.
    """

    def __init__(self, table: TableFiles, lists: bool = False, events: EventsConfig | None = None) -> None:
        self.table = table
        self._lists = lists
        self._events = None if events is None or events.column is None else events
        self._reader: EventReader | None = None
        self._rows = 0
        self._without_items: int | None = None

    @property
    def source(self) -> str:
        """The name of the log in error messages that count rows; it says so if rows are counted after expansion."""
        source = self._source_of_all
        return source if self._events is None else f"{source} (the rows that data.events keeps)"

    @property
    def _source_of_all(self) -> str:
        """The name of the log before data.events leaves any row out."""
        has_lists = self._lists or self._without_items is not None
        return f"{self.table.source}, a click a row" if has_lists else self.table.source

    @property
    def unit(self) -> str:
        """What the progress of a reading is counted in (`TableFiles.unit`)."""
        return self.table.unit

    def count(self, on_progress: ProgressCallback | None = None) -> int:
        """Returns the number of rows of the table, before conditions leave any out and before lists are expanded.

        Args:
          on_progress: progress callback, in `unit`.
        """
        return self.table.count(on_progress)

    def counts(self) -> dict[str, int]:
        """Counts the rows that conditions or events left out, and the lists without items, in what was read last.

        A count is present only if the log has conditions, events or lists, at all.
        """
        counts = {}
        if self._without_items is not None:
            counts[WITHOUT_ITEMS] = self._without_items
        if self.table.is_filtered:
            counts[LEFT_OUT] = self.table.left_out
        return counts if self._reader is None else counts | self._reader.counts()

    def load(self, on_progress: ProgressCallback | None = None) -> pa.Table:
        """Reads the whole log into memory.

        Args:
          on_progress: progress callback, in `unit`.

        Raises:
          InputError: a column is missing or misspelt, a cell is missing in a column of lists, or the table cannot be
            read (`TableFiles.load`).
        """
        self._begin()
        log = self._weighed(self._taken_apart(self.table.load(self._wanted, self._strings, on_progress)), 0)
        self._end()
        return log

    def blocks(self, rows: int, on_progress: ProgressCallback | None = None) -> Iterator[pa.Table]:
        """Reads the same rows as `load`, in blocks of about `rows` rows of the table."""
        self._begin()
        before = 0
        for block in self.table.blocks(self._wanted, self._strings, rows, on_progress):
            apart = self._taken_apart(block)
            yield self._weighed(apart, before)
            before += len(apart)
        self._end()

    @property
    def _wanted(self) -> tuple[str, ...]:
        if self._events is None:
            return INTERACTION_COLUMNS
        return (*(name for name in INTERACTION_COLUMNS if name != columns.WEIGHT), columns.EVENT)

    @property
    def _strings(self) -> tuple[str, ...]:
        of_kinds = self._events is not None and self._events.kinds
        return (*INTERACTION_STRINGS, columns.EVENT) if of_kinds else INTERACTION_STRINGS

    def _begin(self) -> None:
        self.table.require(columns.USER_ID, columns.ITEM_ID)
        self.table.refuse_respelt(*OPTIONAL)
        self._rows, self._without_items = 0, None
        if self._events is None:
            return
        column = self._events.column
        assert column is not None
        if column not in self.table.names:
            raise InputError(
                f"{self.table.path}: data.events.column is {quoted(column)}, which is not there; "
                f"{what_is_there(self.table.names, column)}"
            )
        self.table.require(columns.EVENT)
        own = self.table.column_of(columns.WEIGHT)
        if own not in (None, column):
            logger.warning(
                "%s: its column %s is not read, since data.events gives the weights", self.table.path, quoted(str(own))
            )
        self._reader = EventReader(self._events, str(self.table.path))

    def _weighed(self, block: pa.Table, before: int) -> pa.Table:
        return block if self._reader is None else self._reader.weighed(block, before, self._source_of_all)

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.finish()
            return
        unread = self.table.unread(SIGNALS)
        if unread:
            say(
                f"{self.table.path}: every row counts as a click, whatever {', '.join(map(quoted, unread))} may say; "
                "data.events and data.where read such columns"
            )

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


def table_log(
    config: DataConfig, path: Path, parts: Sequence[Keyed] | None = None, names: Mapping[str, str] | None = None
) -> TableLog:
    """Makes a log of a table, read as the settings say.

    Args:
      config: the configuration section `data`.
      path, parts: as in `TableFiles`.
      names: the package's column name -> that of the files, where the layout has fixed names; the settings' go before.
    """
    table = TableFiles(path, parts, {**(names or {}), **config.log_columns}, config.where)
    return TableLog(table, config.item_lists, config.events)
