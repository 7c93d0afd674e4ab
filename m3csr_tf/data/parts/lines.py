"""Reads text files, compressed or not, in blocks of whole lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from m3csr_tf.util.files import regular

OnShare = Callable[[float], None]
"""Is called with the share of a file that has been read, from 0 to 1; it never falls."""
BLOCK_BYTES = 8 << 20
"""Number of bytes of text that are parsed at once; a single line may be longer."""
LONGEST_LINE = 256 << 20
"""Largest length of a line in bytes. Without it, a few kilobytes of compressed text could fill the memory."""
_ARROWS_NAMES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
COMPRESSIONS = tuple(_ARROWS_NAMES)
"""Endings of compressed text files."""
_OTHER_KINDS = {
    b"\x1f\x8b": "it is compressed; end its name in .gz",
    b"\x28\xb5\x2f\xfd": "it is compressed; end its name in .zst",
    b"\xff\xfe": "it is UTF-16 text, not UTF-8; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16 text, not UTF-8; save it as UTF-8",
}
"""First bytes of files that are not plain UTF-8 text -> what they are; no UTF-8 text begins with them."""
_BOM = b"\xef\xbb\xbf"
_TRIES = 100
"""Number of line ends that are tried, from the end of a block backwards, to find one outside of quotes."""


def plain_suffix(path: Path) -> str:
    """Returns the ending of a file's name without that of a compression: .csv for log.csv.gz."""
    return path.with_suffix("").suffix.lower() if path.suffix.lower() in COMPRESSIONS else path.suffix.lower()


def open_lines(path: Path) -> io.BufferedReader:
    """Opens a text file for reading bytes, decompressed if its ending is that of a compression.

    Raises:
      OSError: the file cannot be opened, or is not a regular file.
    """
    return io.BufferedReader(_decompressed(pa.OSFile(str(regular(path))), path))


def _decompressed(file: pa.NativeFile, path: Path) -> pa.NativeFile:
    compression = _ARROWS_NAMES.get(path.suffix.lower())
    return file if compression is None else pa.CompressedInputStream(file, compression)


def blocks_of_lines(path: Path, quoted: bool = False, on_share: OnShare | None = None) -> Iterator[tuple[bytes, int]]:
    """Yields blocks of about BLOCK_BYTES bytes with their numbers from 0; a file without text yields none.

    Args:
      path: the path of the file.
      quoted: whether a field in quotes may contain line ends; a block then ends outside of quotes.
      on_share: is called after each block, with the share of the bytes on the disk, compressed or not, that is read.

    Raises:
      OSError: the file cannot be read, is not a regular file, begins as compressed or UTF-16 text does, or has a line
        beyond LONGEST_LINE.
    """
    number, rest = 0, b""
    size = regular(path).stat().st_size
    file = pa.OSFile(str(path))
    with io.BufferedReader(_decompressed(file, path)) as stream:
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
            if on_share is not None and size:
                on_share(min(1.0, file.tell() / size))
    if rest:
        yield rest, number
    if on_share is not None:
        on_share(1.0)


def line_of_block(path: Path, number: int, quoted: bool = False) -> int:
    """Returns the number of the first line of a block, counted from 1."""
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
