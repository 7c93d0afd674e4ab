"""Text files, compressed or not, in blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from m3csr_tf.util.files import regular

BLOCK_BYTES = 8 << 20
"""Of text that is parsed at once. A line may be longer."""
LONGEST_LINE = 256 << 20
"""Bytes; a few kilobytes of compressed text may stand for a line without end."""
_ARROWS_NAMES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
COMPRESSIONS = tuple(_ARROWS_NAMES)
"""Endings of compressed text."""
_OTHER_KINDS = {
    b"\x1f\x8b": "it is compressed; end its name in .gz",
    b"\x28\xb5\x2f\xfd": "it is compressed; end its name in .zst",
    b"\xff\xfe": "it is UTF-16 text, not UTF-8; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16 text, not UTF-8; save it as UTF-8",
}
"""What a file that begins so is; none of it begins UTF-8 text."""
_BOM = b"\xef\xbb\xbf"
_TRIES = 100
"""Ends of lines that are looked at for one that is not inside quotes."""


def plain_suffix(path: Path) -> str:
    """The ending of a file's name, or what it is without compression: .csv of log.csv.gz."""
    return path.with_suffix("").suffix.lower() if path.suffix.lower() in COMPRESSIONS else path.suffix.lower()


def blocks_of_lines(path: Path, quoted: bool = False) -> Iterator[tuple[bytes, int]]:
    """Blocks of about BLOCK_BYTES with their numbers, from 0; a file without text has none.

    Args:
      path: the file.
      quoted: whether a line may end inside quotes; a block then ends outside of them.

    Raises:
      OSError: it cannot be read, or is no file.
    """
    regular(path)
    number, rest = 0, b""
    with pa.input_stream(str(path), compression=_ARROWS_NAMES.get(path.suffix.lower())) as stream:
        while chunk := stream.read(BLOCK_BYTES):
            if not number and not rest:
                _refuse_other_kinds(chunk)
            chunk = rest + chunk if number or rest else chunk.removeprefix(_BOM)
            end = _end_of_lines(chunk, quoted)
            block, rest = chunk[:end], chunk[end:]
            if len(rest) > LONGEST_LINE:
                raise OSError(f"a line is longer than {LONGEST_LINE >> 20} MiB")
            if block:
                yield block, number
                number += 1
    if rest:
        yield rest, number


def line_of_block(path: Path, number: int, quoted: bool = False) -> int:
    """The number of a block's first line, from 1."""
    before = islice(blocks_of_lines(path, quoted), number)
    return 1 + sum(block.count(b"\n") for block, _ in before)


def _refuse_other_kinds(text: bytes) -> None:
    for begin, says in _OTHER_KINDS.items():
        if text.startswith(begin):
            raise OSError(says)


def _end_of_lines(text: bytes, quoted: bool) -> int:
    last = end = text.rfind(b"\n") + 1
    for _ in range(_TRIES if quoted else 0):
        if text.count(b'"', 0, end) % 2 == 0:
            return end
        end = text.rfind(b"\n", 0, end - 1) + 1
    return last
