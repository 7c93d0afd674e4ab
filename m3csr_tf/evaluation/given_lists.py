"""Lists that somebody else has made, as rows of a run's data: what evaluation judges like the run's own.

A listed item keeps its place, whatever it is: one that the run's data lacks, or one that the user clicked in training,
is a place without a hit, as it was for the user who saw the list. All of that is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.audience import read_clicks
from m3csr_tf.data.cells import refuse, to_floats
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.data.lacking import what_is_there
from m3csr_tf.data.part_files import require_file
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.ids import NO_ITEM, UNKNOWN_ROW, near
from m3csr_tf.util.quoting import quoted

ROWS_AT_ONCE = 1 << 20
"""Rows of a file that are in memory as text at once."""


@dataclass(frozen=True)
class GivenLists:
    """Lists by row.

    Attributes:
      ranked: item rows int32 [users, n], best first; NO_ITEM in empty places and in those of unknown items.
      counts: what was found on the way, in words -> how often; nothing that was found never.
      lengths: int64 [users], places of each list that are taken, unknown items included; at most n.
    """

    ranked: np.ndarray
    counts: dict[str, int]
    lengths: np.ndarray


def read_lists(path: Path, prepared: Prepared, users: np.ndarray, n: int, seed: int) -> GivenLists:
    """Reads the lists of some users from a table with a row for each place (any encoding of `data.parts`).

    Columns: user_id, item_id, and rank (smallest first; it gives the order alone) or score (largest first, with equal
    scores in a random order). Where both are there, rank counts.

    Args:
      path: of the table; parts of a folder are read together, e.g. what `retrieve` has written.
      prepared: the run's data.
      users: rows int [users] of those who are judged, ascending.
      n: places of a list that are looked at.
      seed: of the order of equal scores.

    Raises:
      InputError: the file cannot be read or lacks a column, a cell is no id or no number, a user has a rank twice, or
        nobody who is judged has a list.
    """
    by_rank, table = _table_of_lists(path)
    position_of = np.full(len(prepared.users), NO_ITEM)
    position_of[users] = np.arange(len(users))
    kept: list[_Places] = []
    counts = {"rows": 0, "rows of unknown users": 0, "rows of users who are not judged": 0}
    unknown = np.zeros(0, np.uint64)
    examples = np.zeros(0, object)
    for frame in _blocks(table, by_rank, path):
        rows = prepared.users.rows(frame[columns.USER_ID].to_numpy(object))
        owners = position_of[rows]
        owners[rows == UNKNOWN_ROW] = NO_ITEM
        strangers = frame[columns.USER_ID].to_numpy(object)[rows == UNKNOWN_ROW]
        examples = np.append(examples, strangers[:1])
        unknown = np.union1d(unknown, pd.util.hash_array(strangers, categorize=False))
        counts["rows"] += len(frame)
        counts["rows of unknown users"] += len(strangers)
        counts["rows of users who are not judged"] += int((owners == NO_ITEM).sum()) - len(strangers)
        kept.append(_Places.of(frame[owners != NO_ITEM], owners[owners != NO_ITEM], prepared))
    places = _Places.together(kept)
    if not len(places.owners):
        _refuse_nobody(path, counts["rows"], examples, prepared)
    if by_rank:
        _refuse_repeated_rank(path, places, prepared, users)
    placed, taken, found = _placed(places, len(users), n, seed)
    clicked = _are_clicked(placed, prepared, users)
    lengths = taken.sum(axis=1)
    counts |= {"unknown users": len(unknown), **found}
    counts["places of unknown items"] = int((taken & (placed == NO_ITEM)).sum())
    counts["places of training items"] = int(clicked.sum())
    counts["lists that hold training items"] = int(clicked.any(axis=1).sum())
    counts["users without a list"] = int((lengths == 0).sum())
    counts[f"lists shorter than {n}"] = int(((lengths > 0) & (lengths < n)).sum())
    if by_rank:
        del counts["scores that tie"]
    return GivenLists(placed, {name: count for name, count in counts.items() if count}, lengths)


@dataclass(frozen=True)
class _Places:
    """Rows of the file: owners int64 (positions of users), items int32 (rows), names uint64 (hashes), keys float64.

    The smallest key of a user comes first. `names` tells unknown items apart, which share a row.
    """

    owners: np.ndarray
    items: np.ndarray
    names: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, owners: np.ndarray, prepared: Prepared) -> _Places:
        ids = frame[columns.ITEM_ID].to_numpy(object)
        names = pd.util.hash_array(ids, categorize=False)
        return cls(owners, prepared.items.rows(ids), names, frame["key"].to_numpy(np.float64))

    @classmethod
    def together(cls, parts: list[_Places]) -> _Places:
        owners, items, names, keys = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("owners", "items", "names", "keys")
        )
        return cls(owners, items, names, keys)

    def taken(self, order: np.ndarray) -> _Places:
        return _Places(self.owners[order], self.items[order], self.names[order], self.keys[order])


def table_at(path: Path, option: str) -> TableFiles:
    """The table of a file that an option names.

    Raises:
      InputError: nothing is there, or it is a pipe or a device.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; {option} must name a table (.parquet, .csv, .jsonl or a folder of it)")
    require_file(path)
    return TableFiles(path)


def require_columns(table: TableFiles, *wanted: str) -> None:
    """Refuses a table that lacks a column.

    Raises:
      InputError: naming what it has.
    """
    for name in wanted:
        if name not in table.names:
            raise InputError(
                f"{table.path}: column {name} is missing; {what_is_there(table.names, name)}; name it {name}"
            )


def _table_of_lists(path: Path) -> tuple[bool, TableFiles]:
    """Whether ranks give the order, and the table."""
    table = table_at(path, "--lists")
    require_columns(table, columns.USER_ID, columns.ITEM_ID)
    if not {columns.RANK, columns.SCORE} & {*table.names}:
        raise InputError(
            f"{path}: neither column {columns.RANK} nor {columns.SCORE} is there, one of which must give the order of "
            f"a list; {what_is_there(table.names, columns.RANK, columns.SCORE)}"
        )
    return columns.RANK in table.names, table


def _blocks(table: TableFiles, by_rank: bool, path: Path) -> Iterator[pd.DataFrame]:
    """The table as user_id, item_id (str) and key (float64, the smallest first)."""
    order = columns.RANK if by_rank else columns.SCORE
    before = 0
    for block in table.blocks(
        [columns.USER_ID, columns.ITEM_ID, order], [columns.USER_ID, columns.ITEM_ID], ROWS_AT_ONCE
    ):
        frame = to_pandas(block)
        frame.index = pd.RangeIndex(before, before + len(frame))
        expected = "a whole number" if by_rank else "a finite number"
        keys = to_floats(frame[order], str(path), expected)
        bad = ~np.isfinite(keys)
        refuse(bad | (keys % 1 != 0) if by_rank else bad, frame[order], str(path), expected)
        yield pd.DataFrame(
            {
                columns.USER_ID: to_ids(frame[columns.USER_ID], str(path), warn=not before),
                columns.ITEM_ID: to_ids(frame[columns.ITEM_ID], str(path), warn=not before),
                "key": keys if by_rank else -keys,
            }
        )
        before += len(frame)


def _placed(places: _Places, users: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Item rows int32 [users, n], which places are taken bool [users, n], and counts.

    Of an item that a list has twice the better place counts, and what comes after it moves up.
    """
    # First an order that the file has no say in, so that equal scores are drawn alike whatever the order of its rows.
    plain = places.taken(np.lexsort((places.names, places.owners)))
    draw = np.random.default_rng(seed).random(len(plain.owners))
    ordered = plain.taken(np.lexsort((draw, plain.keys, plain.owners)))
    again = pd.DataFrame({"owner": ordered.owners, "name": ordered.names}).duplicated().to_numpy(bool)
    once = ordered.taken(np.flatnonzero(~again))
    first = np.searchsorted(once.owners, once.owners)
    position = np.arange(len(once.owners)) - first
    # A tie matters where both of its items may be looked at.
    ties = (once.owners[1:] == once.owners[:-1]) & (once.keys[1:] == once.keys[:-1]) & (position[:-1] < n)
    inside = position < n
    ranked, taken = np.full((users, n), NO_ITEM, np.int32), np.zeros((users, n), bool)
    where = once.owners[inside], position[inside]
    ranked[where] = np.where(once.items[inside] == UNKNOWN_ROW, NO_ITEM, once.items[inside])
    taken[where] = True
    counts = {"items listed again": int(again.sum()), "scores that tie": int(ties.sum())}
    return ranked, taken, counts


def _are_clicked(ranked: np.ndarray, prepared: Prepared, users: np.ndarray) -> np.ndarray:
    """Which places hold an item that the user clicked in training, bool [users, n]."""
    clicks = read_clicks(prepared, columns.TRAIN, users).tocoo()
    items = len(prepared.items)
    keys = np.arange(len(ranked), dtype=np.int64)[:, np.newaxis] * items + ranked
    return np.isin(keys, clicks.row.astype(np.int64) * items + clicks.col) & (ranked != NO_ITEM)


def _refuse_nobody(path: Path, rows: int, strangers: np.ndarray, prepared: Prepared) -> None:
    if not rows:
        raise InputError(f"{path}: holds no row; expected a row for each place of each list")
    alike = near(strangers, prepared.users.strings) if len(strangers) else None
    if alike is not None:
        why = f"{quoted(alike[0])} differs from {quoted(alike[1])}, which the run knows, in case or spaces alone"
    elif len(strangers):
        why = f"its users are unknown to the run, e.g. {quoted(strangers[0])}"
    else:
        why = "its users have no held-out clicks"
    raise InputError(f"{path}: has no list of anybody who is judged ({why}); write ids as the run's log has them")


def _refuse_repeated_rank(path: Path, places: _Places, prepared: Prepared, users: np.ndarray) -> None:
    again = pd.DataFrame({"owner": places.owners, "key": places.keys}).duplicated().to_numpy(bool)
    if again.any():
        at = int(again.argmax())
        [user] = prepared.users.ids(users[places.owners[[at]]])
        more = f" ({again.sum()} such rows)" if again.sum() > 1 else ""
        raise InputError(
            f"{path}: user {quoted(user)} has rank {places.keys[at]:.0f} twice{more}; give each place of a list a rank "
            "of its own, or write scores instead"
        )
