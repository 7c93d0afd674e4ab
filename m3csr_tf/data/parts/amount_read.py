"""Counts how much of a table's parts has been read, in rows or in bytes, over all the times they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from m3csr_tf.data.parts.lines import OnShare
from m3csr_tf.data.parts.part import Part
from m3csr_tf.util.progress import ProgressCallback

ROWS, BYTES = "rows", "bytes"


def unit_of(parts: Iterable[Part]) -> str:
    """Returns what the reading of these parts is counted in: ROWS if all files say how many they have, else BYTES."""
    return ROWS if all(part.knows_count for part in parts) else BYTES


class AmountRead:
    """The amount of a table that has been read, which never falls, whatever is read in which order or again.

    Args:
      parts: the parts of the table.
      on_progress: progress callback, which gets the amount that is read and the amount that will have been, in
        `unit_of` the parts; None if nobody asks.
    """

    def __init__(self, parts: Sequence[Part], on_progress: ProgressCallback | None) -> None:
        self._on_progress = on_progress
        self._amounts: dict[int, int] = {}
        if on_progress is not None:
            in_rows = unit_of(parts) == ROWS
            self._amounts = {id(part): part.count() if in_rows else part.path.stat().st_size for part in parts}
        self._done, self._ended, self._total = 0, 0, 0

    def expect(self, parts: Iterable[Part]) -> None:
        """Takes in that these parts are going to be read once, beside what has been read so far, and nothing else."""
        if self._on_progress is not None:
            self._ended = self._done
            self._total = self._done + sum(self._amounts[id(part)] for part in parts)
            self._on_progress(self._done, self._total)

    def of(self, part: Part) -> OnShare | None:
        """Returns what the next reading of a part is to call; the readings before it count as ended."""
        if self._on_progress is None:
            return None
        begun, amount = self._ended, self._amounts[id(part)]
        self._ended += amount

        def on_share(share: float) -> None:
            self._report(begun + round(share * amount))

        return on_share

    def finish(self) -> None:
        """Reports that all is read that was expected."""
        if self._on_progress is not None:
            self._report(self._total)

    def _report(self, done: int) -> None:
        self._done = max(self._done, done)
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
