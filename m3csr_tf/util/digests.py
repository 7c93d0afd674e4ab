"""SHA-256 of large files, read again only when they have changed: at every start, tens of gigabytes are asked about.

A file counts as unchanged while device, inode, size, and the times of its last change of content and of state (mtime,
ctime) are what they were. The last of these is the system's own: no program can set it back, so that a change is
noticed even where a copy keeps time and size (`cp -p`, `rsync -t`). A file that changed just before it was read is not
remembered, since a second change could bear the same times. What no write goes through, such as a failing disk, is not
noticed; without the file of digests, everything is read.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, sha256, write_json

logger = logging.getLogger(__name__)

_SETTLED = 2_000_000_000
"""Nanoseconds that a file must have rested before it was read: the coarsest times that file systems keep (FAT)."""


class Digests:
    """Digests of files, remembered in a file.

    Args:
      path: of that file; it may be missing, and one that cannot be read counts as missing.
    """

    def __init__(self, path: Path) -> None:
        self._before: dict[str, list[int | str]] = {}
        self._now: dict[str, list[int | str]] = {}
        with suppress(OSError, ValueError):
            stored = parse_json(regular(path).read_bytes())
            self._before = stored if isinstance(stored, dict) else {}

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file, hex.

        Raises:
          OSError: it cannot be read.
        """
        # Before reading: whatever changes while it is read has another time than this.
        state = path.stat()
        name = f"{state.st_dev}:{state.st_ino}"
        signs: list[int | str] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        known = self._now.get(name) or self._before.get(name)
        if isinstance(known, list) and known[:-1] == signs:
            self._now[name] = known
            return str(known[-1])
        read = time.time_ns()
        digest = sha256(path)
        if max(state.st_mtime_ns, state.st_ctime_ns) + _SETTLED < read:
            self._now[name] = [*signs, digest]
        return digest

    def matches(self, path: Path, digest: str) -> bool:
        """Whether a file has this SHA-256; it is read before that is denied, for what is remembered may be wrong.

        Raises:
          OSError: it cannot be read.
        """
        return self.sha256(path) == digest or sha256(path) == digest

    def save(self, path: Path, others: bool = False) -> None:
        """Remembers the digests of the files that were asked about; of `others` what was remembered stays."""
        kept = self._before | self._now if others else self._now
        if kept != self._before or not path.exists():
            write_json(path, kept)
