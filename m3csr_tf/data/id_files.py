"""Reads files of item ids: items to be excluded from lists, to be allowed in them, or to be removed."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.data.parts.kinds import ENDINGS, is_table
from m3csr_tf.data.tables import column_names, load_table
from m3csr_tf.errors import InputError
from m3csr_tf.util.files import regular
from m3csr_tf.util.quoting import listed, quoted

_JOINED = re.compile(r"""[,|;\s\[\]{}()"']""")
_LINE_END = re.compile("\r\n|\n|\r")


def read_ids(path: Path) -> list[str]:
    """Reads item ids from a .txt file, or from the column item_id of a table in any format that `parts` knows.

    A .txt file has one id on each line; spaces around it are stripped.

    Returns:
      The distinct ids in the order of the file.

    Raises:
      InputError: the file is missing, of another type or unreadable, lacks the column, or holds no id.
    """
    return list(dict.fromkeys(_read(path)))


def refuse_joined(path: Path, unknown: Collection[str]) -> None:
    """Refuses a file in which an unknown id looks like several ids on one line, or like one in quotes or brackets.

    Args:
      path: the file that `read_ids` has read.
      unknown: the ids of it that are unknown.

    Raises:
      InputError: there is such an id; the message names the first one and where it stands.
    """
    odd = {one for one in unknown if _JOINED.search(one)}
    if odd:
        ids = _read(path)
        place, one = next((place, one) for place, one in ids.items() if one in odd)
        where = f"line {place + 1}" if path.suffix.lower() == ".txt" else f"data row {place + 1}"
        raise InputError(
            f"{path}: {where} holds {quoted(one)}, which is no item of the release; expected one id in a "
            f"{where.rsplit(' ', 1)[0]}, without commas, blanks, pipes, semicolons, quotes or brackets; write each "
            "id apart, or drop it"
        )


def _read(path: Path) -> pd.Series:
    """Reads the ids of a file, duplicates included. The index + 1 gives the numbers of the lines or data rows."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected item ids as .txt, or a table with a column item_id")
    if path.is_file() and not path.stat().st_size:
        ids = pd.Series(dtype=object)
    elif path.suffix.lower() == ".txt":
        try:
            lines = _LINE_END.split(regular(path).read_bytes().decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from None
        stripped = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        ids = pd.Series(stripped, dtype=object, name=columns.ITEM_ID)
        ids = to_ids(ids, str(path)) if len(ids) else ids
    elif path.is_dir() or is_table(path):
        table = load_table(path, [columns.ITEM_ID], strings=[columns.ITEM_ID])
        if columns.ITEM_ID not in table.column_names:
            raise InputError(f"{path}: column {columns.ITEM_ID} is missing; found {listed(column_names(path))}")
        column = table[columns.ITEM_ID].to_pandas()
        ids = to_ids(column.rename(columns.ITEM_ID), str(path)) if len(column) else column
    else:
        raise InputError(f"{path}: unknown kind of file; expected item ids as .txt, or a table ({', '.join(ENDINGS)})")
    if not len(ids):
        raise InputError(f"{path}: holds no item id; expected at least one")
    return ids
