"""Layout "lightgcn": one file for each split, whose lines are adjacency lists: a user followed by her items."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.errors import InputError
from m3csr_tf.util.files import regular
from m3csr_tf.util.progress import ProgressCallback, after
from m3csr_tf.util.quoting import quoted

_FILES = {columns.TRAIN: ("train.txt",), columns.VAL: ("val.txt", "valid.txt"), columns.TEST: ("test.txt",)}
_OTHER_ENDS = set(",;|")
_LINES_A_REPORT = 1000
EMPTY_USERS = "users_without_items"


class LightgcnLayout(LogLayout):
    """Reads train.txt, test.txt and, where validation clicks have a file of their own, val.txt or valid.txt."""

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        return list(self._splits().values())

    def log(self, on_progress: ProgressCallback | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
        """See `Layout`."""
        splits = self._splits()
        size = sum(path.stat().st_size for path in splits.values())
        frames, empty, before = [], 0, 0
        for split, path in splits.items():
            frame, without = _read_lists(path, after(on_progress, before, size))
            frames.append(frame.assign(**{columns.SPLIT: split}))
            empty += without
            before += path.stat().st_size
        return pd.concat(frames, ignore_index=True), {EMPTY_USERS: empty}

    def _splits(self) -> dict[str, Path]:
        found = {}
        for split, names in _FILES.items():
            there = [self.folder / name for name in names if (self.folder / name).is_file()]
            if len(there) > 1:
                raise InputError(f"{self.folder}: both {' and '.join(names)} are there; keep one")
            if there or split != columns.VAL:
                found[split] = there[0] if there else self.existing(names[0])
        return found


def _read_lists(path: Path, on_progress: ProgressCallback) -> tuple[pd.DataFrame, int]:
    """Reads the (user, item) pairs of a file, and counts the lines that hold a user without items.

    Args:
      path: the path of the file.
      on_progress: progress callback, which gets the number of bytes of the file that are read.

    Raises:
      InputError: the file cannot be read, or a line seems to be a list with separators other than blanks.
    """
    try:
        lines = regular(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; expected a user and her items a line") from None
    pairs: list[tuple[str, str]] = []
    empty, size = 0, path.stat().st_size
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if len(parts) == 1 and not _OTHER_ENDS.isdisjoint(parts[0]):
            raise InputError(
                f"{path}: line {number} is {quoted(parts[0])}, a user without items; expected a user and her items "
                "with blanks between them; write blanks instead of other characters"
            )
        empty += len(parts) == 1
        pairs += [(parts[0], item) for item in parts[1:]]
        if number % _LINES_A_REPORT == 0:
            on_progress(size * number // len(lines), None)
    on_progress(size, None)
    return pd.DataFrame(pairs, columns=[columns.USER_ID, columns.ITEM_ID], dtype=object), empty
