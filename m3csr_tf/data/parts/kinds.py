"""Chooses the reader of a table's file by the ending of its name."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.data.parts.arrow_stream import ArrowStream, is_stream
from m3csr_tf.data.parts.binary import BinaryPart
from m3csr_tf.data.parts.delimited import Delimited, Dialect
from m3csr_tf.data.parts.json_lines import JsonLines
from m3csr_tf.data.parts.lines import plain_suffix
from m3csr_tf.data.parts.part import Part
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import is_utf8

_BINARY = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".ipc": "feather",
    ".orc": "orc",
}
_DELIMITED = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")
ENDINGS = (*_BINARY, *_DELIMITED, *_JSON)
"""Endings of tables. Those of text may be followed by the ending of a compression."""


def is_table(path: Path) -> bool:
    """Returns whether the ending of a file is one of a table."""
    return path.suffix.lower() in _BINARY or plain_suffix(path) in (*_DELIMITED, *_JSON)


def open_part(path: Path, table: Path) -> Part:
    """Opens a file as a part of a table.

    Args:
      path: the path of the file.
      table: the folder that the file is a part of. Its ending counts if the file has none of its own.

    Raises:
      InputError: neither of them has the ending of a table, or the path is not UTF-8, which Arrow requires.
    """
    if not is_utf8(str(path)):
        raise InputError(f"{path}: the path is no UTF-8; rename the file or folder")
    for named in (path, table):
        if named.suffix.lower() in _BINARY:
            kind = _BINARY[named.suffix.lower()]
            return ArrowStream(path) if kind == ArrowStream.kind and is_stream(path) else BinaryPart(path, kind)
        if plain_suffix(named) in _DELIMITED:
            return Delimited(path, Dialect(_DELIMITED[plain_suffix(named)]))
        if plain_suffix(named) in _JSON:
            return JsonLines(path)
    raise InputError(
        f"{path}: unknown kind of file; a table ends in one of {', '.join(ENDINGS)}, text perhaps in .gz or .zst too"
    )
