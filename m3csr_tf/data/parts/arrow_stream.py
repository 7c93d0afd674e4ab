"""Reads Arrow's stream format, which has no index as an Arrow file has; Hugging Face saves data sets in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa

from m3csr_tf.data.parts.lines import OnShare
from m3csr_tf.data.parts.part import Part, fitted, readable, refuse_twice, slices
from m3csr_tf.util.files import regular

_FILE_MAGIC = b"ARROW1"


def is_stream(path: Path) -> bool:
    """Returns whether a file of Arrow data is in the stream format.

    Raises:
      InputError: the file cannot be read.
    """
    with readable(path, ArrowStream.kind), regular(path).open("rb") as stream:
        return stream.read(len(_FILE_MAGIC)) != _FILE_MAGIC


class ArrowStream(Part):
    """A file in Arrow's stream format."""

    kind = "feather"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """See `Part`."""
        return list(self._schema().names)

    def types(
        self,
        wanted: Collection[str],
        strings: Collection[str],
        thorough: bool = True,
        on_share: OnShare | None = None,
    ) -> pa.Schema:
        """See `Part`; columns of `strings` keep the type in which they are stored."""
        return pa.schema([field for field in self._schema() if field.name in wanted])

    def count(self, on_share: OnShare | None = None) -> int:
        """See `Part`."""
        return sum(batch.num_rows for batch in self._batches(on_share))

    def blocks(self, schema: pa.Schema, rows: int | None, on_share: OnShare | None = None) -> Iterator[pa.Table]:
        """See `Part`."""
        for batch in self._batches(on_share):
            with readable(self.path, self.kind):
                batch.validate(full=True)
                table = fitted(pa.Table.from_batches([batch]), schema)
            yield from slices(table, rows)

    def _batches(self, on_share: OnShare | None) -> Iterator[pa.RecordBatch]:
        with readable(self.path, self.kind):
            size = regular(self.path).stat().st_size
            with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield batch
                    if on_share is not None:
                        on_share(min(1.0, file.tell() / size))
        if on_share is not None:
            on_share(1.0)

    def _schema(self) -> pa.Schema:
        with readable(self.path, self.kind), pa.ipc.open_stream(str(self.path)) as reader:
            schema = reader.schema
        refuse_twice(schema.names, self.path)
        return schema
