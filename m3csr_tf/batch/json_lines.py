"""Reads JSON lines of users, one object on each line, of which only the wanted keys are kept in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch.sources import Chunk
from m3csr_tf.data.parts.lines import open_lines
from m3csr_tf.data.parts.part import readable
from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import parse_json

JSON_LINES = frozenset({".jsonl", ".ndjson", ".json"})
CHUNK_BYTES = 1 << 24
"""Largest size of a chunk in bytes, unless a single line is larger."""
_LINES = 65_536
"""Number of lines that are searched for their keys at once."""


class UserJsonLines:
    """A file of users with one JSON object on each line (`RowSource`).

    Args:
      path: the path of the file, which may be compressed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return [self._path]

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`: the keys that occur in any line, so all lines are read; user_id for a file without lines."""
        keys: dict[str, None] = {}
        for lines in self._blocks(_LINES):
            for number, line in lines:
                keys.update(dict.fromkeys(_object(line, number, self._path)))
        return {self._path: list(keys) or [columns.USER_ID]}

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; all lines are read."""
        start = 0
        for lines in self._blocks(size):
            yield Chunk(start, len(lines), self._frame(lines, names), partial(_commas, lines))
            start += len(lines)

    def _blocks(self, size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yields lists of numbered lines, each of at most `size` lines and about CHUNK_BYTES bytes."""
        lines: list[tuple[int, bytes]] = []
        chunk_bytes = 0
        with readable(self._path, "JSON lines"), open_lines(self._path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if lines and (len(lines) == size or chunk_bytes + len(line) > CHUNK_BYTES):
                    yield lines
                    lines, chunk_bytes = [], 0
                lines.append((number, line))
                chunk_bytes += len(line)
        if lines:
            yield lines

    def _frame(self, lines: list[tuple[int, bytes]], names: Sequence[str]) -> Callable[[int, int], pd.DataFrame]:
        def frame(first: int, last: int) -> pd.DataFrame:
            # Only the wanted keys of an object are kept, because the lists under other keys may be long.
            rows = [_json_values(line, number, self._path, names) for number, line in lines[first:last]]
            return pd.DataFrame(rows, columns=list(names), dtype=object)

        return frame


def _commas(lines: Sequence[tuple[int, bytes]]) -> np.ndarray:
    return np.array([line.count(b",") for _, line in lines], np.int64)


def _object(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        value = parse_json(line.decode("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); expected one object a line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: line {number} holds a {type(value).__name__}; expected one object a line")
    return value


def _json_values(line: bytes, number: int, path: Path, names: Sequence[str]) -> list[Any]:
    """Returns the values of an object under some names, None where the object lacks the name."""
    value = _object(line, number, path)
    values = [value.get(name) for name in names]
    # UTF-8 cannot encode half of a surrogate pair, so one can only come from a \u escape.
    if b"\\u" in line and re.search("[\ud800-\udfff]", json.dumps(values, ensure_ascii=False)):
        raise InputError(f"{path}: line {number} holds half of a surrogate pair, which is no text; expected whole ones")
    return values
