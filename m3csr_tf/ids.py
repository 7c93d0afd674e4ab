"""Ids are strings outside and rows inside: the one class that turns the first into the second.

Row 0 is padding (an empty history slot), row 1 stands for every id that the table lacks, known ids follow.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.string_hashes import string_hashes

PADDING_ROW = 0
UNKNOWN_ROW = 1
FIRST_ROW = 2
NO_ITEM = -1
"""Stands in a top-n list where no candidate is left."""
_FREE = -1
"""No row: in the hash table."""
_HALF = np.uint64(32)
_UPPER = np.uint64(0xFFFFFFFF00000000)
FEW = 16
"""Below so many ids, they are looked up one by one."""
_PLACES = 2
"""Places of the hash table for each id."""


class IdTable:
    """A fixed table of string ids.

    The text of all ids is one Arrow array, and a hash table with linear probing, built and searched by whole arrays,
    leads to them: some 35 bytes an id, where a Python string in a pandas index takes 150, and ten million ids are
    loaded in seconds.

    Args:
      ids: the known ids, distinct and non-empty; `ids[k]` gets row `k + FIRST_ROW`.

    Raises:
      ValueError: an id is repeated or empty ("" means padding).
    """

    def __init__(self, ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        self._ids = _strings(ids)
        self._hashes = string_hashes(self._ids)
        # Sorting hashes with their rows in the lower half is three times as fast as np.argsort.
        keys = np.sort(self._hashes & _UPPER | np.arange(len(self._hashes), dtype=np.uint64))
        order = (keys & ~_UPPER).astype(np.int32)
        self._refuse_repeated(order, keys >> _HALF)
        # Slots ascend with hashes, so that every id goes to its slot or, if others took it, to the next after theirs.
        self._slots = _PLACES * max(1, len(order))
        count = np.arange(len(order))
        places = count + np.maximum.accumulate(self._slots_of(self._hashes[order]) - count)
        # One more place, which stays empty, ends every search.
        last = int(places[-1]) if len(places) else 0
        self._places = np.full(max(self._slots, last + 1) + 1, _FREE, np.int32)
        self._places[places] = order
        if pc.any(pc.equal(self._ids, "")).as_py():
            raise ValueError('the empty id "" is in the table; it is reserved for padding')

    def __len__(self) -> int:
        """Rows of the table, padding and unknown included."""
        return len(self._ids) + FIRST_ROW

    @property
    def strings(self) -> pa.LargeStringArray:
        """The known ids in row order [rows - FIRST_ROW], as they are kept; `known` is for few of them."""
        return self._ids

    @property
    def known(self) -> np.ndarray:
        """The known ids in row order, object array of str [rows - FIRST_ROW], made anew."""
        return self._ids.to_numpy(zero_copy_only=False)

    def rows(self, ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Rows of `ids`, int32 [n]: "" -> PADDING_ROW, an id that the table lacks -> UNKNOWN_ROW."""
        wanted = _strings(ids)
        hashes = string_hashes(wanted)
        if len(wanted) < FEW:
            found = map(self._row, wanted, hashes.tolist(), self._slots_of(hashes).tolist())
            return np.fromiter(found, np.int32, len(wanted))
        rows = np.full(len(wanted), UNKNOWN_ROW, np.int32)
        rows[pc.equal(wanted, "").to_numpy(zero_copy_only=False)] = PADDING_ROW
        pending = np.arange(len(wanted))
        slots = self._slots_of(hashes)
        while len(pending):
            candidate_rows = self._places[slots]
            taken = candidate_rows != _FREE
            pending, hashes, slots, candidate_rows = pending[taken], hashes[taken], slots[taken], candidate_rows[taken]
            matching = np.flatnonzero(self._hashes[candidate_rows] == hashes)
            equal = pc.equal(
                self._ids.take(pa.array(candidate_rows[matching])), wanted.take(pa.array(pending[matching]))
            )
            same = matching[equal.to_numpy(zero_copy_only=False)]
            rows[pending[same]] = candidate_rows[same] + FIRST_ROW
            others = np.ones(len(pending), bool)
            others[same] = False
            pending, hashes, slots = pending[others], hashes[others], slots[others] + 1
        return rows

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """Ids of known `rows`, object array of str of the same shape.

        Raises:
          ValueError: a row is padding, unknown, or outside the table.
        """
        rows = np.asarray(rows)
        if rows.size and (rows.min() < FIRST_ROW or rows.max() >= len(self)):
            raise ValueError(
                f"rows must lie in [{FIRST_ROW}, {len(self)}) to have an id, got {rows.min()} to {rows.max()}"
            )
        taken = self._ids.take(pa.array(rows.reshape(-1) - FIRST_ROW, pa.int64()))
        return taken.to_numpy(zero_copy_only=False).reshape(rows.shape)

    def _row(self, wanted: pa.LargeStringScalar, its_hash: int, slot: int) -> int:
        """Returns the row of one id, which for a few ids takes less time than whole arrays do."""
        if wanted.as_buffer().size == 0:
            return PADDING_ROW
        while (candidate := int(self._places[slot])) != _FREE:
            if int(self._hashes[candidate]) == its_hash and self._ids[candidate].equals(wanted):
                return candidate + FIRST_ROW
            slot += 1
        return UNKNOWN_ROW

    def _slots_of(self, hashes: np.ndarray) -> np.ndarray:
        """Where to look first for ids of these hashes, int64 below `_slots`; it ascends with their upper halves."""
        return ((hashes >> _HALF) * np.uint64(self._slots) >> _HALF).astype(np.int64)

    def _refuse_repeated(self, order: np.ndarray, halves: np.ndarray) -> None:
        """Refuses ids that are there twice, among rows in `order` of the upper halves of their hashes."""
        same = halves[1:] == halves[:-1]
        if same.any():
            rows = np.sort(order[np.append(same, False) | np.append(False, same)])
            some = pd.Series(self._ids.take(pa.array(rows)).to_numpy(zero_copy_only=False))
            repeated = some[some.duplicated()]
            if len(repeated):
                raise ValueError(f"id {quoted(repeated.iloc[0])} is in the table twice; ids must be distinct")


def _strings(ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """The ids as one array; halves of surrogate pairs, which UTF-8 lacks and no known id has, in bytes of their own."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        strings = pc.cast(ids, pa.large_string())
        return strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings
    texts = ids if isinstance(ids, np.ndarray) else list(ids)
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        encoded = [one.encode("utf-8", "surrogatepass") for one in texts]
        return pa.array(encoded, pa.large_binary()).view(pa.large_string())


def near(ids: np.ndarray, known: pa.LargeStringArray) -> tuple[str, str] | None:
    """The first unknown id that differs from a known one in case or in spaces around it alone, and that one."""
    folded = [one.strip().lower() for one in ids]
    alike = pc.utf8_lower(pc.utf8_trim_whitespace(known))
    found = pc.filter(known, pc.is_in(alike, pa.array(sorted(set(folded)), pa.large_string())))
    of = {one.strip().lower(): one for one in found.to_pylist()}
    return next(((given, of[fold]) for given, fold in zip(ids, folded, strict=True) if fold in of), None)
