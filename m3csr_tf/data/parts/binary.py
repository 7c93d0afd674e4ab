"""Reads file formats that store the types of their columns: parquet, Arrow files (feather) and ORC."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from m3csr_tf.data.parts.lines import OnShare
from m3csr_tf.data.parts.part import Part, fitted, readable, refuse_twice, slices
from m3csr_tf.util.files import regular

# By default Arrow reads a whole parquet file ahead and keeps it in memory, so both are turned off.
_FORMATS = {
    "parquet": lambda: ds.ParquetFileFormat(pre_buffer=False, use_buffered_stream=True),
    "feather": ds.IpcFileFormat,
    "orc": ds.OrcFileFormat,
}


class BinaryPart(Part):
    """A file in the format of parquet, feather or ORC.

    Args:
      path: the path of the file.
      kind: the file format: "parquet", "feather" or "orc".
    """

    knows_count = True

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind

    @cached_property
    def _fragment(self) -> ds.Fragment:
        with readable(self.path, self.kind):
            regular(self.path)
            fragment = _FORMATS[self.kind]().make_fragment(str(self.path), pa.fs.LocalFileSystem())
            # Names are checked first, because Arrow fails even at counting rows if two columns have the same name.
            refuse_twice(fragment.physical_schema.names, self.path)
        return fragment

    @cached_property
    def _schema(self) -> pa.Schema:
        with readable(self.path, self.kind):
            return self._fragment.physical_schema

    def names(self) -> list[str]:
        """See `Part`."""
        return list(self._schema.names)

    def types(
        self,
        wanted: Collection[str],
        strings: Collection[str],
        thorough: bool = True,
        on_share: OnShare | None = None,
    ) -> pa.Schema:
        """See `Part`; columns of `strings` keep the type in which they are stored."""
        return pa.schema([field for field in self._schema if field.name in wanted])

    def count(self, on_share: OnShare | None = None) -> int:
        """See `Part`; only the metadata of the file is read where its format has them."""
        with readable(self.path, self.kind):
            return self._fragment.count_rows()

    def blocks(self, schema: pa.Schema, rows: int | None, on_share: OnShare | None = None) -> Iterator[pa.Table]:
        """See `Part`."""
        stored = pa.schema([field for field in self._schema if field.name in schema.names])
        # By default Arrow reads a gigabyte and more ahead, which matters only to those who cannot hold the whole table.
        some = {} if rows is None else {"batch_size": rows, "batch_readahead": 2, "fragment_readahead": 1}
        count, done = self.count(), 0
        with readable(self.path, self.kind):
            for batch in self._fragment.to_batches(stored, columns=stored.names, **some):
                yield from slices(_checked(fitted(pa.Table.from_batches([batch]), schema)), rows)
                done += batch.num_rows
                if on_share is not None and count:
                    on_share(done / count)


def _checked(table: pa.Table) -> pa.Table:
    """Returns the table if all its text is valid UTF-8, which parquet itself does not guarantee."""
    table.validate(full=True)
    return table
